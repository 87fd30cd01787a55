//! `zhujiao bench`: speed and memory of a model on this machine, and of candle-transformers' decoder beside it.

use clap::Args;
use serde_json::{Value, json};
use zhujiao::config::Settings;
use zhujiao::runtime::device;
use zhujiao::runtime::model::measure::{Measurement, Workload, measure, measure_reference};

use super::CliError;
use super::parts::model_file;

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Name of the model's manifest.
    #[arg(long)]
    model: String,
    /// Prompt tokens per stream.
    #[arg(long, default_value_t = 512)]
    prompt: usize,
    /// Tokens generated per stream.
    #[arg(long, default_value_t = 64)]
    generate: usize,
    /// Positions before prompt and generated tokens.
    #[arg(long, default_value_t = 0)]
    depth: usize,
    /// Sequences at once.
    #[arg(long, default_value_t = 1)]
    streams: usize,
    /// Threads; all processors without.
    #[arg(long)]
    threads: Option<usize>,
    /// Also measure candle-transformers' decoder, in the same run.
    #[arg(long)]
    reference: bool,
    /// Print JSON on one line.
    #[arg(long)]
    json: bool,
}

pub async fn run(args: BenchArgs, settings: &Settings) -> Result<(), CliError> {
    let path = model_file(&settings.models, &args.model).await?;
    if args.streams == 0 || args.threads == Some(0) {
        return Err(CliError::Input("--streams and --threads must be at least 1".to_owned()));
    }
    if let Some(threads) = args.threads {
        // Before the first use of the pool, which happens below.
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .map_err(|error| CliError::Input(format!("--threads: {error}")))?;
    }
    let device = device::open(settings.models.device)?;
    let workload = Workload { prompt: args.prompt, generate: args.generate, depth: args.depth, streams: args.streams };
    let mut report = to_json(&args, measure(&path, &device, workload)?);
    if args.reference {
        let reference = measure_reference(&path, &device, workload)?;
        let ratio = |ours: &Value, theirs: f64| ours.as_f64().filter(|_| theirs > 0.0).map(|ours| ours / theirs);
        let prefill = ratio(&report["prefill_tokens_per_s"], reference.prefill_tokens_per_s);
        let decode = ratio(&report["decode_tokens_per_s"], reference.decode_tokens_per_s);
        report["reference"] = to_json(&args, reference);
        report["reference"]["name"] = json!("candle-transformers");
        report["ratio"] = json!({"prefill": prefill, "decode": decode});
    }
    let text = if args.json { serde_json::to_string(&report) } else { serde_json::to_string_pretty(&report) };
    println!("{}", text.map_err(CliError::json)?);
    Ok(())
}

fn to_json(args: &BenchArgs, measured: Measurement) -> Value {
    json!({
        "model": args.model,
        "prompt": args.prompt,
        "generate": args.generate,
        "depth": args.depth,
        "streams": args.streams,
        "threads": args.threads.unwrap_or_else(rayon::current_num_threads),
        "prefill_tokens_per_s": measured.prefill_tokens_per_s,
        "decode_tokens_per_s": measured.decode_tokens_per_s,
        "load_s": measured.load_s,
        "peak_rss_bytes": measured.peak_rss_bytes,
    })
}
