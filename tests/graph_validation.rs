//! Each kind of mistake in the content is reported, with the place where it was made.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use zhujiao::graph::{Content, DEFAULT_BASE, KnowledgeGraph, Report, validate};

const HEAD: &str = "@prefix zj: <urn:zhujiao:vocab:> . @prefix math: <urn:zhujiao:math:> .
@prefix subject: <urn:zhujiao:subject:> . @prefix skos: <http://www.w3.org/2004/02/skos/core#> .
math:u a zj:Unit ; zj:subject subject:math ; zj:grade 7 ; zj:order 1 ; skos:prefLabel \"单元\"@zh .
";

/// Validates `turtle` with the shipped vocabulary and rules.
fn report(turtle: &str) -> Report {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("knowledge_graph");
    let directory = tempfile::tempdir().expect("a folder");
    fs::copy(shipped.join("vocabulary.ttl"), directory.path().join("vocabulary.ttl")).expect("the vocabulary");
    for entry in fs::read_dir(shipped.join("validation")).expect("the rules").flatten() {
        fs::copy(entry.path(), directory.path().join(entry.file_name())).expect("a rule");
    }
    fs::write(directory.path().join("content.ttl"), format!("{HEAD}{turtle}")).expect("the content");
    let graph = KnowledgeGraph::load(Content::Directory(directory.path()), DEFAULT_BASE).expect("it loads");
    validate(&graph).expect("the rules run")
}

/// Asserts that `turtle` breaks `rule` at `subject`, with `words` in the message.
fn breaks(turtle: &str, rule: &str, subject: &str, words: &str) {
    let report = report(turtle);
    let found = report.violations.iter().any(|v| v.rule == rule && v.subject == subject && v.message.contains(words));
    assert!(found, "{rule} {subject} {words}: {:#?}", report.violations);
}

fn concept(name: &str, rest: &str) -> String {
    format!(
        "math:{name} a zj:Concept ; zj:subject subject:math ; zj:unit math:u ; zj:grade 7 ; skos:prefLabel \"{name}\"@zh {rest} .\n"
    )
}

#[test]
fn cycles_are_reported_as_cycles() {
    let turtle = [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")]
        .map(|(name, needs)| concept(name, &format!("; zj:requires math:{needs}")))
        .concat();
    let report = report(&turtle);
    let cycles: Vec<&str> =
        report.violations.iter().filter(|v| v.rule == "prerequisite-cycle").map(|v| v.message.as_str()).collect();
    assert_eq!(cycles, ["math:a -> math:b -> math:c -> math:a"]);
}

#[test]
fn wrong_answers_name_the_exercise_and_its_place() {
    let exercise =
        "math:ex a zj:Exercise ; zj:assesses math:a ; zj:level \"basic\" ; zj:kind \"fill\" ; zj:difficulty 1 ;
 zj:prompt \"?\"@zh ; zj:answer \"1\"@zh ; zj:solution ( \"1\"@zh ) ; zj:check \"solve(x^2 = 4; x; {2})\" .\n";
    let turtle = concept("a", "") + exercise;
    breaks(&turtle, "check", "math:ex", "right is {-2, 2}");
    let report = report(&turtle);
    let place = report.violations.iter().find(|v| v.rule == "check").and_then(|v| v.place.clone()).expect("a place");
    assert!(place.ends_with("content.ttl:5"), "{place}");
    breaks(&turtle.replace("solve(", "solv("), "check", "math:ex", "position 1");
    breaks(&turtle.replace("\"basic\"", "\"easy\""), "snapshot", "math:ex", "easy");
}

#[test]
fn examples_are_recomputed_too() {
    let example = "; zj:examples ( [ zj:prompt \"?\"@zh ; zj:answer \"3\"@zh ; zj:check \"equal(1 + 1, 3)\" ] )";
    breaks(&concept("a", example), "check", "math:a", "right is 2");
    breaks(&concept("a", example), "part-property", "math:a", "vocab:solution");
}

#[test]
fn every_rule_reports_what_it_is_about() {
    breaks(&concept("a", "; zj:relatedTo math:nowhere"), "dangling-link", "math:a", "math:nowhere");
    breaks(&concept("a", "; zj:relatedTo math:u"), "wrong-kind", "math:a", "vocab:Concept");
    breaks(&concept("a", "; zj:requries math:u"), "unknown-property", "vocab:requries", "1 statements");
    breaks(&concept("a", ""), "concept-property", "math:a", "skos/core#definition");
    breaks(&concept("a", ""), "concept-label", "math:a", "0 labels in en");
    breaks(&concept("a", "; zj:grade 8"), "single-value", "math:a", "vocab:grade");
    breaks(&concept("a", ""), "without-exercise", "math:a", "");
    breaks(&concept("a", ""), "without-misconception", "math:a", "");
    let two = concept("a", "; zj:requires math:b") + &concept("b", "");
    breaks(&two, "requires-without-note", "math:a", "math:b");
    let noted = concept("a", "; zj:prerequisiteNotes ( [ zj:concept math:b ] )") + &concept("b", "");
    breaks(&noted, "note-without-requires", "math:a", "math:b");
    breaks(
        &two.replace("zj:grade 7 ; skos:prefLabel \"b\"", "zj:grade 9 ; skos:prefLabel \"b\""),
        "grade-inversion",
        "math:a",
        "9",
    );
    breaks(&two.replace("\"b\"@zh", "\"a\"@zh"), "duplicate-label", "math:b", "math:a");
    breaks(
        &concept("a", "; skos:altLabel \"b\"@zh")
            .replace(" .\n", " .\nmath:b a zj:Concept ; skos:prefLabel \"b\"@zh .\n"),
        "synonym-is-label",
        "math:a",
        "math:b",
    );
    let synonyms = ["a", "b"].map(|name| concept(name, "; skos:altLabel \"x\"@zh")).concat();
    breaks(&synonyms, "duplicate-synonym", "math:b", "math:a");
    breaks(&concept("a", "; skos:definition \"x $y\"@zh"), "formula-delimiter", "math:a", "x $y");
    let misconception = "math:m a zj:Misconception ; zj:text \"x\"@zh .\n";
    breaks(misconception, "misconception-unused", "math:m", "");
    breaks(misconception, "misconception-property", "math:m", "vocab:response");
    breaks("math:s a zj:Standard ; zj:code \"1\" .\n", "standard-property", "math:s", "vocab:text");
    breaks("math:v a zj:Unit ; zj:subject subject:math ; zj:order 1 .\n", "unit-order", "math:v", "math:u");
    breaks("math:e a zj:Exercise ; zj:prompt \"?\"@zh .\n", "exercise-property", "math:e", "vocab:answer");
}

#[test]
fn counts_say_what_was_looked_at() {
    let report = report(&concept("a", ""));
    let rules: BTreeSet<&str> = report.violations.iter().map(|v| v.rule.as_str()).collect();
    assert!(rules.len() > 3 && report.rules >= 20 && report.concepts == 1 && !report.is_clean());
}
