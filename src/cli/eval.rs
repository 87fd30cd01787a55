//! `zhujiao eval`: quality on data sets in plain files.

use std::path::PathBuf;

use clap::Subcommand;
use zhujiao::config::Settings;
use zhujiao::retrieval::{FusionWeights, evaluate};

use super::CliError;
use super::parts::load_encoder;

#[derive(Debug, Subcommand)]
pub enum EvalCommand {
    /// Rankings of words, vectors and both on a folder with corpus.jsonl, queries.jsonl and qrels.tsv.
    Retrieval {
        #[arg(long, value_name = "DIR")]
        dataset: PathBuf,
        /// Print JSON on one line.
        #[arg(long)]
        json: bool,
    },
}

pub async fn run(command: EvalCommand, settings: &Settings) -> Result<(), CliError> {
    let EvalCommand::Retrieval { dataset, json } = command;
    let encoder = load_encoder(&settings.models).await?;
    let report = evaluate(&dataset, encoder, FusionWeights::default()).await?;
    if json {
        println!("{}", serde_json::to_string(&report).map_err(CliError::json)?);
        return Ok(());
    }
    println!("{} passages, {} queries, {}", report.passages, report.queries, report.encoder);
    for (name, metrics) in
        [("bm25", report.bm25), ("dense", report.dense), ("fused", report.fused), ("final", report.answered)]
    {
        println!(
            "{name}\tnDCG@10 {:.4}\trecall@10 {:.4}\tMRR@10 {:.4}",
            metrics.ndcg_10, metrics.recall_10, metrics.mrr_10
        );
    }
    println!("latency\tp50 {:.1} ms\tp95 {:.1} ms", report.latency_ms.p50, report.latency_ms.p95);
    Ok(())
}
