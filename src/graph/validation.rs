//! What must be true of the content: queries in `knowledge_graph/validation/*.rq`, and what SPARQL cannot say.
//!
//! The first line of a query file is `# error: message` or `# warning: message`; `{name}` in the message stands for the
//! value of that variable. Every row of the SELECT is a violation; its first variable is the thing that violates.

use std::collections::BTreeMap;

use oxigraph::model::Term;
use oxigraph::sparql::{QueryResults, QuerySolution, SparqlEvaluator};
use serde::{Deserialize, Serialize};

use super::{GraphError, KnowledgeGraph};
use crate::algebra::{self, Verdict};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Violation {
    pub severity: Severity,
    /// The query's file name without ending, or the name of a rule in Rust.
    pub rule: String,
    /// The id of the thing that violates the rule.
    pub subject: String,
    pub message: String,
    /// `file:line` where the thing is stated, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// What [`validate`] found and looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Errors first.
    pub violations: Vec<Violation>,
    pub concepts: usize,
    pub exercises: usize,
    pub examples: usize,
    /// Statements recomputed by `crate::algebra`.
    pub checks: usize,
    pub rules: usize,
}

impl Report {
    /// Whether nothing is wrong; warnings count.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

/// Runs all rules.
///
/// # Errors
///
/// A validation query that cannot be parsed or run; violations are no errors.
pub fn validate(graph: &KnowledgeGraph) -> Result<Report, GraphError> {
    let mut report = Report {
        concepts: graph.concepts().len(),
        exercises: graph.exercises().count(),
        examples: graph.concepts().iter().map(|concept| concept.examples.len()).sum(),
        ..Report::default()
    };
    let mut violations = Vec::new();
    for (file, text) in &graph.queries {
        report.rules += 1;
        run_query(graph, file, text, &mut violations)?;
    }
    let error = |rule: &str, subject: &str, message: String| Violation {
        severity: Severity::Error,
        rule: rule.to_owned(),
        subject: subject.to_owned(),
        message,
        place: None,
    };
    for problem in graph.problems() {
        violations.push(error("snapshot", &problem.id, problem.message.clone()));
    }
    for cycle in cycles(graph) {
        violations.push(error("prerequisite-cycle", &cycle[0], format!("{} -> {}", cycle.join(" -> "), cycle[0])));
    }
    for (subject, statement) in checks(graph) {
        report.checks += 1;
        let message = match algebra::check(&statement) {
            Ok(Verdict::Holds) => continue,
            Ok(Verdict::Fails { why, expected: Some(right) }) => format!("`{statement}`: {why}; right is {right}"),
            Ok(Verdict::Fails { why, expected: None }) => format!("`{statement}`: {why}"),
            Err(error) => format!("`{statement}`: {error}"),
        };
        violations.push(error("check", &subject, message));
    }
    for violation in &mut violations {
        violation.place = graph.place(&violation.subject).map(|place| format!("{}:{}", place.file, place.line));
    }
    violations.sort();
    violations.dedup();
    report.violations = violations;
    Ok(report)
}

/// All statements to recompute, with the exercise or concept (for its examples) that they belong to.
fn checks(graph: &KnowledgeGraph) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for concept in graph.concepts() {
        let checks = concept.examples.iter().flat_map(|example| &example.checks);
        found.extend(checks.map(|check| (concept.id.clone(), check.clone())));
    }
    for exercise in graph.exercises() {
        found.extend(exercise.checks.iter().map(|check| (exercise.id.clone(), check.clone())));
    }
    found
}

fn run_query(graph: &KnowledgeGraph, file: &str, text: &str, found: &mut Vec<Violation>) -> Result<(), GraphError> {
    let failed = |message: String| GraphError::Query { file: file.to_owned(), message };
    let head = text.lines().next().unwrap_or_default();
    let (severity, template) = if let Some(template) = head.strip_prefix("# error: ") {
        (Severity::Error, template)
    } else if let Some(template) = head.strip_prefix("# warning: ") {
        (Severity::Warning, template)
    } else {
        return Err(failed("the first line must be `# error: message` or `# warning: message`".to_owned()));
    };
    let rule = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".rq");
    let query = SparqlEvaluator::new().parse_query(text).map_err(|error| failed(error.to_string()))?;
    let results = query.on_store(graph.store()).execute().map_err(|error| failed(error.to_string()))?;
    let QueryResults::Solutions(solutions) = results else {
        return Err(failed("a validation query must be a SELECT".to_owned()));
    };
    for solution in solutions {
        let solution = solution.map_err(|error| failed(error.to_string()))?;
        let values = values(graph, &solution);
        let subject = solution.get(0).map_or_else(String::new, |term| show(graph, term));
        let mut message = template.to_owned();
        for (name, value) in &values {
            message = message.replace(&format!("{{{name}}}"), value);
        }
        found.push(Violation { severity, rule: rule.to_owned(), subject, message, place: None });
    }
    Ok(())
}

fn values(graph: &KnowledgeGraph, solution: &QuerySolution) -> BTreeMap<String, String> {
    solution.iter().map(|(variable, term)| (variable.as_str().to_owned(), show(graph, term))).collect()
}

fn show(graph: &KnowledgeGraph, term: &Term) -> String {
    match term {
        Term::NamedNode(node) => graph.id_of(node.as_str()).to_owned(),
        Term::BlankNode(node) => node.to_string(),
        Term::Literal(literal) => literal.value().to_owned(),
    }
}

/// Each cycle of prerequisites once, from its first concept in teaching order.
fn cycles(graph: &KnowledgeGraph) -> Vec<Vec<String>> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let count = graph.concepts().len();
    let mut states = vec![State::New; count];
    let mut cycles = Vec::new();
    for start in 0..count {
        if states[start] != State::New {
            continue;
        }
        // The way down to the current concept, each with the prerequisites still to be looked at.
        let mut way = vec![(start, graph.prerequisites_of(start))];
        states[start] = State::Open;
        while let Some((at, rest)) = way.last_mut() {
            let Some(next) = rest.pop() else {
                states[*at] = State::Done;
                way.pop();
                continue;
            };
            match states[next] {
                State::Done => {}
                State::Open => {
                    let mut cycle: Vec<usize> = way.iter().map(|(at, _)| *at).skip_while(|at| *at != next).collect();
                    let first = cycle.iter().enumerate().min_by_key(|(_, at)| **at).map_or(0, |(index, _)| index);
                    cycle.rotate_left(first);
                    cycles.push(cycle.iter().map(|at| graph.concepts()[*at].id.clone()).collect());
                }
                State::New => {
                    states[next] = State::Open;
                    way.push((next, graph.prerequisites_of(next)));
                }
            }
        }
    }
    cycles
}
