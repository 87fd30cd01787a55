//! `zhujiao ingest`: documents into the index.

use std::path::PathBuf;

use clap::Args;
use zhujiao::config::Settings;
use zhujiao::domain::{Grade, Subject};
use zhujiao::retrieval::{Collection, IngestOptions};

use super::parts::{load_encoder, open_graph, open_index};
use super::{CliError, open_database};

#[derive(Debug, Args)]
pub struct IngestArgs {
    #[arg(long, default_value = "curriculum")]
    collection: Collection,
    #[arg(long)]
    subject: Option<Subject>,
    #[arg(long, value_parser = parse_grade)]
    grade: Option<Grade>,
    /// The school that alone will see the documents.
    #[arg(long)]
    school: Option<String>,
    /// Markdown and text files, or folders of them.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

pub async fn run(args: IngestArgs, settings: &Settings) -> Result<(), CliError> {
    let database = open_database(settings).await?;
    let concepts = open_graph(settings)?;
    let encoder = load_encoder(&settings.models).await?;
    let index = open_index(&database, &concepts, encoder).await?;
    let IngestArgs { collection, subject, grade, school, paths } = args;
    let report = index.indexer.ingest_paths(&paths, &IngestOptions { collection, subject, grade, school }).await;
    for (path, error) in &report.failed {
        eprintln!("{}: {error}", path.display());
    }
    println!(
        "{} added, {} replaced, {} unchanged, {} failed",
        report.added.len(),
        report.replaced.len(),
        report.unchanged.len(),
        report.failed.len()
    );
    database.close().await;
    if report.failed.is_empty() { Ok(()) } else { Err(CliError::Check(report.failed.len())) }
}

fn parse_grade(text: &str) -> Result<Grade, String> {
    let number = text.parse().map_err(|_| "a grade is a number from 1 to 12".to_owned())?;
    Grade::new(number).map_err(|error| error.to_string())
}
