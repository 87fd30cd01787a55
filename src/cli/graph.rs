//! `zhujiao graph check` and `zhujiao link`.

use std::io::{BufRead, Write};

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use zhujiao::config::Settings;
use zhujiao::domain::{Grade, Subject};
use zhujiao::graph::{LinkContext, LinkedConcept, validate};

use super::CliError;
use super::parts::open_graph;

#[derive(Debug, Subcommand)]
pub enum GraphCommand {
    /// Check the graph's structure and recompute every stated answer; exit status 0 only when nothing is wrong.
    Check {
        /// Print the report as JSON.
        #[arg(long)]
        json: bool,
    },
}

pub fn run(command: GraphCommand, settings: &Settings) -> Result<(), CliError> {
    let GraphCommand::Check { json } = command;
    let graph = open_graph(settings)?.graph;
    let report = validate(&graph)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report).map_err(CliError::json)?);
    } else {
        for violation in &report.violations {
            let place = violation.place.as_deref().unwrap_or("-");
            println!(
                "{:?}\t{place}\t{}\t{}\t{}",
                violation.severity, violation.subject, violation.rule, violation.message
            );
        }
        println!(
            "{} concepts, {} exercises, {} examples, {} answers recomputed, {} rules: {} problems",
            report.concepts,
            report.exercises,
            report.examples,
            report.checks,
            report.rules,
            report.violations.len()
        );
    }
    if report.is_clean() { Ok(()) } else { Err(CliError::Check(report.violations.len())) }
}

#[derive(Deserialize)]
struct Mention {
    id: serde_json::Value,
    text: String,
    subject: Option<Subject>,
    grade: Option<Grade>,
}

#[derive(Serialize)]
struct Linked {
    id: serde_json::Value,
    concepts: Vec<LinkedConcept>,
}

/// `zhujiao link --jsonl`: a line of JSON in, a line out.
pub fn link(settings: &Settings) -> Result<(), CliError> {
    let linker = open_graph(settings)?.linker;
    let mut out = std::io::stdout().lock();
    for (number, line) in (1..).zip(std::io::stdin().lock().lines()) {
        let line = line.map_err(CliError::io("cannot read standard input"))?;
        if line.trim().is_empty() {
            continue;
        }
        let mention: Mention =
            serde_json::from_str(&line).map_err(|error| CliError::Input(format!("line {number}: {error}")))?;
        let context = LinkContext { subject: mention.subject, grade: mention.grade };
        let linked = Linked { id: mention.id, concepts: linker.link(&mention.text, context) };
        let text = serde_json::to_string(&linked).map_err(CliError::json)?;
        writeln!(out, "{text}").map_err(CliError::io("cannot write to standard output"))?;
    }
    Ok(())
}
