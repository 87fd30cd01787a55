//! `zhujiao serve`: opens the database, starts the parts, serves until SIGINT or SIGTERM.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use tokio::net::TcpListener;
use zhujiao::assistants::lesson::{LessonPlanner, PlannerParts};
use zhujiao::assistants::prompts::Prompts;
use zhujiao::config::{Secret, Settings};
use zhujiao::http::{AppState, ModelSlot, Models, Parts, serve};
use zhujiao::retrieval::{Collection, GraphConcepts, Indexer, IngestOptions, IngestReport, shipped_documents};
use zhujiao::store::keys::{FirstAdministrator, KeyStore};
use zhujiao::store::plans::PlanStore;
use zhujiao::telemetry::Metrics;

use super::parts::{model_store, open_graph, open_index};
use super::{CliError, models as model_start, open_database};

/// How often metrics that nobody scrapes are folded into their buckets.
const METRICS_UPKEEP: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address and port [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
}

pub async fn run(settings: Settings) -> Result<(), CliError> {
    let database = open_database(&settings).await?;
    let keys = KeyStore::new(database.clone());
    let now = Timestamp::now();
    keys.delete_expired(now).await?;
    let first = keys.ensure_first_administrator(settings.admin_key.as_ref(), now).await?;
    let sign_in = keys.create_sign_in(first.key_id, now).await?;

    let metrics = Metrics::install()?;
    tokio::spawn(keep_up(metrics.clone()));
    let models = Models {
        generator: Arc::new(ModelSlot::new(&settings.models.generator)),
        encoder: Arc::new(ModelSlot::new(&settings.models.encoder)),
    };

    let concepts = open_graph(&settings)?;
    let index = open_index(&database, &concepts, models.encoder.clone()).await?;
    let planner = LessonPlanner::new(PlannerParts {
        graph: concepts.graph.clone(),
        linker: concepts.linker.clone(),
        searcher: index.searcher.clone(),
        generator: models.generator.clone(),
        plans: PlanStore::new(database.clone()),
        prompts: Arc::new(Prompts::built_in()?),
        max_concurrent: settings.lesson.max_concurrent,
    });
    fill_index(&index.indexer, &concepts, &settings).await?;

    // Bound before anything is printed: the links below work.
    let listen = settings.server.listen;
    let listener =
        TcpListener::bind(listen).await.map_err(CliError::io(format!("cannot listen on {listen} (server.listen)")))?;
    let address = listener.local_addr().map_err(CliError::io("cannot read the address that was bound"))?;
    greet(&base_url(&settings, address), &first, &sign_in);

    let settings = Arc::new(settings);
    let store = model_store(&settings.models)?;
    let starting = tokio::spawn(model_start::bring_up(settings.clone(), store, models.clone(), index.indexer.clone()));
    let parts = Parts { keys, models, metrics, graph: concepts.graph, searcher: index.searcher, planner };
    let state = AppState::new(settings.server.clone(), parts);
    let closing = state.closing.clone();
    let shutdown = async move {
        signal().await;
        // Whoever asks twice does not want to wait for the grace period.
        tokio::spawn(async move {
            signal().await;
            closing.cancel();
        });
    };
    let served = serve(listener, state, shutdown).await.map_err(CliError::io("the server stopped"));
    // A download goes on from where it stopped at the next start.
    starting.abort();
    database.close().await;
    served
}

/// Brings the index up to the graph and the documents; what has not changed costs a hash. Vectors come with the encoder.
async fn fill_index(indexer: &Indexer, concepts: &GraphConcepts, settings: &Settings) -> Result<(), CliError> {
    let synced = indexer.sync_concepts(concepts.texts()).await?;
    tracing::info!(?synced, "concepts indexed");
    let options = IngestOptions { collection: Collection::Curriculum, subject: None, grade: None, school: None };
    for document in shipped_documents() {
        let name = document.reference.clone();
        if let Err(error) = indexer.ingest(document, &options).await {
            tracing::error!(%error, document = name, "a shipped document could not be indexed");
        }
    }
    if let Some(dir) = &settings.documents.dir {
        let IngestReport { added, unchanged, replaced, failed } =
            indexer.ingest_paths(std::slice::from_ref(dir), &options).await;
        for (path, error) in &failed {
            tracing::warn!(%error, path = %path.display(), "a document could not be indexed");
        }
        let (added, unchanged, replaced) = (added.len(), unchanged.len(), replaced.len());
        tracing::info!(added, unchanged, replaced, failed = failed.len(), "documents indexed");
    }
    Ok(())
}

/// For the operator's eyes only: standard output, never the log.
fn greet(url: &str, first: &FirstAdministrator, sign_in: &Secret) {
    println!("助教已启动 / Zhujiao is at {url}/");
    if let Some(key) = &first.made {
        println!("管理员密钥，仅显示这一次 / administrator's key, shown this once: {}", key.expose());
    }
    println!(
        "登录链接，15 分钟内一次有效 / sign in, once and within 15 minutes: {url}/#/signin?token={}",
        sign_in.expose()
    );
}

/// How a browser reaches the server: the public URL, or the bound address, with the local host for "all interfaces".
fn base_url(settings: &Settings, bound: SocketAddr) -> String {
    if let Some(url) = &settings.server.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let ip = if bound.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { bound.ip() };
    format!("http://{}", SocketAddr::new(ip, bound.port()))
}

async fn keep_up(metrics: Metrics) {
    let mut ticks = tokio::time::interval(METRICS_UPKEEP);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

/// Resolves on the next SIGINT or SIGTERM.
async fn signal() {
    let interrupt = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "cannot listen for SIGINT");
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signals) => {
                signals.recv().await;
            }
            Err(error) => {
                tracing::error!(%error, "cannot listen for SIGTERM");
                std::future::pending::<()>().await;
            }
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}
