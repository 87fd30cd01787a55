//! One file per command. Commands wire parts together and hold no logic of their own.

mod bench;
mod eval;
mod graph;
mod ingest;
mod keys;
mod models;
mod parts;
mod pull;
mod serve;

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use zhujiao::assistants::prompts::PromptError;
use zhujiao::config::{ConfigError, Flags, Settings};
use zhujiao::embedding::E5Error;
use zhujiao::graph::GraphError;
use zhujiao::model_store::{ManifestError, PullError};
use zhujiao::retrieval::{EvalError, IndexError};
use zhujiao::runtime::model::ModelError;
use zhujiao::store::{Database, StoreError};
use zhujiao::telemetry::{self, TelemetryError};

/// Zhujiao (助教): an AI teaching assistant that runs on a school's own hardware.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct GlobalArgs {
    /// Configuration file instead of ./zhujiao.toml.
    #[arg(long, global = true, value_name = "FILE", env = "ZHUJIAO_CONFIG")]
    config: Option<PathBuf>,
    /// Folder of the database.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Folder of the model files.
    #[arg(long, global = true, value_name = "DIR")]
    models_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API and the web app.
    Serve(serve::ServeArgs),
    /// Fetch models: qwen2.5-coder-1.5b, multilingual-e5-small, …
    Pull {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Put documents into the index.
    Ingest(ingest::IngestArgs),
    /// Work on the knowledge graph.
    #[command(subcommand)]
    Graph(graph::GraphCommand),
    /// Find the concepts that texts speak of: lines of {id, text, subject?, grade?} in, {id, concepts} out.
    Link {
        /// The format of both streams; there is no other.
        #[arg(long, required = true)]
        jsonl: bool,
    },
    /// Measure quality on data sets.
    #[command(subcommand)]
    Eval(eval::EvalCommand),
    /// Measure a model's speed and memory.
    Bench(bench::BenchArgs),
    /// Make, list and revoke keys.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
}

/// Why a command failed, in words for whoever typed it.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error(transparent)]
    Encoder(#[from] E5Error),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Prompts(#[from] PromptError),
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// What was given on the command line or standard input cannot be used.
    #[error("{0}")]
    Input(String),
    /// A check found this many problems, which are printed.
    #[error("{0} problems")]
    Check(usize),
    /// A report that cannot be written as JSON.
    #[error("{0}")]
    Json(String),
    /// What was asked for does not exist.
    #[error("{0}")]
    NotFound(String),
}

impl CliError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    fn json(error: serde_json::Error) -> Self {
        Self::Json(error.to_string())
    }

    /// 2 for what the caller has to change in flags or settings (as clap does), 1 for the rest.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Input(_) => 2,
            Self::Telemetry(_)
            | Self::Store(_)
            | Self::Io { .. }
            | Self::Graph(_)
            | Self::Index(_)
            | Self::Manifest(_)
            | Self::Pull(_)
            | Self::Encoder(_)
            | Self::Model(_)
            | Self::Prompts(_)
            | Self::Eval(_)
            | Self::Check(_)
            | Self::Json(_)
            | Self::NotFound(_) => 1,
        }
    }
}

impl Cli {
    pub fn run(self) -> Result<(), CliError> {
        let Self { global, command } = self;
        let listen = match &command {
            Command::Serve(args) => args.listen.clone(),
            _ => None,
        };
        let flags = Flags { config: global.config, listen, data_dir: global.data_dir, models_dir: global.models_dir };
        // Variables that are not Unicode are not ours.
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let settings = Settings::load(&flags, environment)?;
        telemetry::start_logging(&settings.log)?;
        let runtime = tokio::runtime::Runtime::new().map_err(CliError::io("cannot start the runtime"))?;
        match command {
            Command::Serve(_) => runtime.block_on(serve::run(settings)),
            Command::Pull { names } => runtime.block_on(pull::run(names, &settings)),
            Command::Ingest(args) => runtime.block_on(ingest::run(args, &settings)),
            Command::Graph(command) => graph::run(command, &settings),
            Command::Link { jsonl: _ } => graph::link(&settings),
            Command::Eval(command) => runtime.block_on(eval::run(command, &settings)),
            Command::Bench(args) => runtime.block_on(bench::run(args, &settings)),
            Command::Keys(command) => runtime.block_on(keys::run(command, &settings)),
        }
    }
}

/// Opens the database, making its folder when it is not there.
async fn open_database(settings: &Settings) -> Result<Database, CliError> {
    make_private_dir(&settings.data_dir)
        .map_err(CliError::io(format!("cannot make the data folder {}", settings.data_dir.display())))?;
    Ok(Database::open(&settings.database_file()).await?)
}

/// The database holds personal data: the folder is its owner's alone.
fn make_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
