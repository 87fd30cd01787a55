//! The shipped content: complete, consistent, every answer recomputed.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::time::Instant;

use zhujiao::domain::{CitationKind, Grade, Subject};
use zhujiao::graph::{Content, DEFAULT_BASE, KnowledgeGraph, PathKind, RelationKind, validate};

fn load() -> KnowledgeGraph {
    KnowledgeGraph::load(Content::Embedded, DEFAULT_BASE).expect("the shipped content loads")
}

#[test]
fn nothing_is_wrong_with_the_shipped_content() {
    let start = Instant::now();
    let graph = load();
    let loaded = start.elapsed();
    let report = validate(&graph).expect("the queries run");
    println!(
        "loaded in {loaded:?}, validated in {:?}: {} concepts, {} exercises, {} examples, {} checks, {} rules",
        start.elapsed() - loaded,
        report.concepts,
        report.exercises,
        report.examples,
        report.checks,
        report.rules
    );
    let lines: Vec<String> = report
        .violations
        .iter()
        .map(|v| {
            format!("{:?} {} {} {} {}", v.severity, v.rule, v.subject, v.message, v.place.as_deref().unwrap_or(""))
        })
        .collect();
    assert!(report.is_clean(), "{}", lines.join("\n"));
    assert!(report.concepts >= 70, "only {} concepts", report.concepts);
    assert!(report.checks >= 300, "only {} checks", report.checks);
}

#[test]
fn concepts_are_found_by_what_people_call_them() {
    let graph = load();
    let first = |query: &str| graph.search(query, None, None, 5).first().map(|concept| concept.id.clone());
    assert_eq!(first("一元一次方程").as_deref(), Some("math:linear-equation-one-unknown"));
    assert_eq!(first("一次函").as_deref(), Some("math:linear-function"));
    assert_eq!(first("Quadratic Function").as_deref(), Some("math:quadratic-function"));
    assert_eq!(first("光合作用"), None);
    let all = graph.search("", Some(Subject::Math), None, usize::MAX);
    assert_eq!(all.len(), graph.concepts().len());
    let ninth = graph.search("", None, Grade::new(9).ok(), usize::MAX);
    assert!(!ninth.is_empty() && ninth.iter().all(|concept| concept.grade.number() == 9));
    assert!(graph.search("", Some(Subject::Physics), None, 10).is_empty());
}

#[test]
fn subjects_count_their_units() {
    let graph = load();
    let [math] = graph.subjects() else { panic!("one subject is shipped") };
    assert_eq!(math.label, "数学");
    assert_eq!(math.concepts, math.units.iter().map(|unit| unit.concepts).sum::<usize>());
    let grades: Vec<u8> = math.units.iter().map(|unit| unit.grade.number()).collect();
    assert!(grades.is_sorted(), "units in teaching order: {grades:?}");
}

#[test]
fn prerequisites_come_before_what_needs_them() {
    let graph = load();
    let closure = graph.prerequisite_closure("math:solving-linear-equation");
    assert!(closure.contains(&"math:equation".to_owned()));
    for (at, id) in closure.iter().enumerate() {
        for before in &graph.concept(id).expect("it exists").prerequisites {
            assert!(closure[..at].contains(&before.id), "{} must come before {id}", before.id);
        }
    }
    assert!(graph.prerequisite_closure("math:nothing").is_empty());
}

#[test]
fn paths_say_what_they_are() {
    let graph = load();
    let path = graph.path("math:solving-linear-equation", "math:equation").expect("they are connected");
    assert_eq!(path.kind, PathKind::Prerequisite);
    assert_eq!(path.nodes[0].id, "math:equation");
    assert!(path.edges.iter().all(|edge| edge.relation == RelationKind::Requires));
    assert_eq!(path.edges.len() + 1, path.nodes.len());
    let way = graph.path("math:discriminant", "math:linear-function-graph").expect("they are connected");
    assert_eq!(way.kind, PathKind::Related);
    assert_eq!(way.nodes[0].id, "math:discriminant");
    assert!(graph.path("math:equation", "math:nothing").is_none());
    assert_eq!(graph.path("math:equation", "math:equation").map(|path| path.nodes.len()), Some(1));
}

#[test]
fn neighbourhoods_grow_with_depth() {
    let graph = load();
    let sizes: Vec<usize> =
        (1..=4).map(|depth| graph.neighbourhood("math:equation", depth).expect("it exists").nodes.len()).collect();
    assert!(sizes[0] > 1 && sizes[0] <= sizes[1] && sizes[1] <= sizes[2]);
    assert_eq!(sizes[2], sizes[3], "depth is cut to 3");
    let near = graph.neighbourhood("math:equation", 1).expect("it exists");
    let known = |id: &String| near.nodes.iter().any(|node| node.id == *id);
    assert!(near.edges.iter().all(|edge| known(&edge.from) && known(&edge.to)));
    assert!(graph.neighbourhood("math:nothing", 1).is_none());
}

#[test]
fn citations_resolve() {
    let graph = load();
    let concept = graph.resolve("math:equation").expect("a concept");
    assert_eq!((concept.kind, concept.title.as_str()), (CitationKind::Concept, "方程"));
    assert_eq!(graph.resolve("standard:math-7-9-equations-1").map(|s| s.kind), Some(CitationKind::Standard));
    let exercise = graph.exercises_of("math:equation")[0].id.clone();
    assert_eq!(graph.resolve(&exercise).map(|s| s.kind), Some(CitationKind::Exercise));
    assert!(graph.resolve("math:nothing").is_none());
    assert!(graph.resolve("urn:zhujiao:math:equation").is_none());
}
