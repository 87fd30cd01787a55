//! A small graph with the names that matter; tests/graph_linking.rs measures on the shipped content.

use super::*;
use crate::graph::{Content, DEFAULT_BASE};

fn graph() -> KnowledgeGraph {
    let mut text = String::from(
        "@prefix zj: <urn:zhujiao:vocab:> . @prefix math: <urn:zhujiao:math:> . @prefix subject: <urn:zhujiao:subject:> .
@prefix skos: <http://www.w3.org/2004/02/skos/core#> .
math:u a zj:Unit ; zj:subject subject:math ; zj:grade 7 ; zj:order 1 ; skos:prefLabel \"单元\"@zh .\n",
    );
    for (id, zh, en, synonym, grade) in [
        ("equation", "方程", "equation", "含有未知数的等式", 7),
        ("linear", "一元一次方程", "linear equation in one unknown", "一次方程", 7),
        ("solving", "解一元一次方程", "solving linear equations in one unknown", "解方程", 7),
        ("real", "实数", "real number", "有理数和无理数", 7),
        ("addition", "有理数的加法", "addition of rational numbers", "正负数相加", 7),
        ("function", "函数", "function", "函数关系", 8),
        ("quadratic", "一元二次方程", "quadratic equation", "二次方程", 9),
    ] {
        text += &format!(
            "math:{id} a zj:Concept ; skos:prefLabel \"{zh}\"@zh, \"{en}\"@en ; skos:altLabel \"{synonym}\"@zh ;
 zj:subject subject:math ; zj:unit math:u ; zj:grade {grade} .\n"
        );
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("content.ttl"), text).unwrap();
    KnowledgeGraph::load(Content::Directory(directory.path()), DEFAULT_BASE).unwrap()
}

#[test]
fn names_are_linked_where_they_are_words() {
    let linker = Linker::new(&graph());
    for (text, expected) in [
        ("一元一次方程", vec!["math:linear"]),
        ("什么是 一元 一次 方程？", vec!["math:linear"]),
        ("一元一次方程怎么解", vec!["math:linear", "math:solving"]),
        ("有理数加法", vec!["math:addition"]),
        ("Linear Equations in One Unknown", vec!["math:linear"]),
        ("quadratic equations", vec!["math:quadratic"]),
        ("函数和方程", vec!["math:function", "math:equation"]),
        ("其实数学很好玩", vec![]),
        ("三角函数", vec![]),
        ("方程式赛车", vec![]),
        ("红烧肉怎么做", vec![]),
        ("光合作用", vec![]),
        ("", vec![]),
        ("？？？", vec![]),
    ] {
        let linked: BTreeSet<String> = linker.link(text, LinkContext::default()).into_iter().map(|c| c.id).collect();
        assert_eq!(linked, expected.iter().map(|id| (*id).to_owned()).collect(), "{text}");
    }
}

#[test]
fn slips_are_forgiven() {
    let linker = Linker::new(&graph());
    let best = |text: &str| linker.link(text, LinkContext::default()).into_iter().next().map(|concept| concept.id);
    assert_eq!(best("一元一次方城").as_deref(), Some("math:linear"));
    assert_eq!(best("一元二次方程式的解法").as_deref(), Some("math:quadratic"));
}

#[test]
fn context_changes_order_but_adds_nothing() {
    let linker = Linker::new(&graph());
    let text = "一元一次方程和一元二次方程";
    let ids = |grade: i64| -> Vec<String> {
        let context = LinkContext { subject: Some(Subject::Math), grade: Grade::new(grade).ok() };
        linker.link(text, context).into_iter().map(|concept| concept.id).collect()
    };
    assert_eq!(ids(7)[0], "math:linear");
    assert_eq!(ids(9)[0], "math:quadratic");
    let context = LinkContext { subject: Some(Subject::Math), grade: Grade::new(7).ok() };
    assert!(linker.link("光合作用", context).is_empty());
}

#[test]
fn there_is_always_a_nearest_concept() {
    let linker = Linker::new(&graph());
    for text in ["光合作用", "", "方城", "equality"] {
        let nearest = linker.nearest(text, 3);
        assert_eq!(nearest.len(), 3, "{text}");
        assert!(nearest.iter().all(|concept| concept.score <= 0.5));
    }
    assert_eq!(linker.nearest("一次方城", 1)[0].id, "math:linear");
}
