//! Brings the configured models up behind a running server: pull what is missing, load, put in place. Each step shows in
//! `/readyz`; a failure leaves the server answering what needs no model.

use std::path::PathBuf;
use std::sync::Arc;

use zhujiao::config::Settings;
use zhujiao::embedding::{E5Encoder, TextEncoder};
use zhujiao::http::{ModelSlot, ModelState, Models};
use zhujiao::model_store::{ModelStore, pull_with_progress_bars};
use zhujiao::retrieval::Indexer;
use zhujiao::runtime::Generator;
use zhujiao::runtime::device;
use zhujiao::runtime::engine::{Engine, EngineConfig};
use zhujiao::runtime::model::{self, KvCapacity, KvPrecision, KvSettings};

/// Why a model is not in its place; the text is for the operator.
type Failure = String;

/// Starts both. The small encoder comes first: search needs it, and it is there in seconds.
pub async fn bring_up(settings: Arc<Settings>, store: ModelStore, models: Models, indexer: Indexer) {
    match load_encoder(&settings, &store, &models).await {
        Ok(encoder) => {
            models.encoder.fill(encoder);
            tokio::spawn(encode_passages(indexer));
        }
        Err(reason) => failed(&models.encoder, reason),
    }
    match load_generator(&settings, &store, &models).await {
        Ok(generator) => models.generator.fill(generator),
        Err(reason) => failed(&models.generator, reason),
    }
}

fn failed<T: ?Sized>(slot: &ModelSlot<T>, reason: Failure) {
    tracing::error!(model = slot.name(), %reason, "a model could not be loaded");
    slot.report(ModelState::Failed, Some(reason));
}

/// Gives the passages that were indexed without vectors their vectors.
async fn encode_passages(indexer: Indexer) {
    match indexer.encode_missing().await {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "passages encoded"),
        Err(error) => tracing::error!(%error, "passages could not be encoded; search goes by words"),
    }
}

async fn file_of<T: ?Sized>(slot: &ModelSlot<T>, store: &ModelStore) -> Result<PathBuf, Failure> {
    let name = slot.name();
    let files = match store.locate(name).await {
        Some(files) => files,
        None => {
            slot.report(ModelState::Downloading, None);
            pull_with_progress_bars(store, name).await.map_err(|error| error.to_string())?
        }
    };
    slot.report(ModelState::Loading, None);
    files.into_iter().next().ok_or_else(|| format!("the model `{name}` has no files"))
}

async fn load_encoder(
    settings: &Settings,
    store: &ModelStore,
    models: &Models,
) -> Result<Arc<dyn TextEncoder>, Failure> {
    let path = file_of(&models.encoder, store).await?;
    let (name, kind) = (settings.models.encoder.clone(), settings.models.device);
    blocking(move || {
        let device = device::open(kind).map_err(|error| error.to_string())?;
        let encoder = E5Encoder::load(&path, name, &device).map_err(|error| error.to_string())?;
        Ok(Arc::new(encoder) as Arc<dyn TextEncoder>)
    })
    .await
}

async fn load_generator(
    settings: &Settings,
    store: &ModelStore,
    models: &Models,
) -> Result<Arc<dyn Generator>, Failure> {
    let path = file_of(&models.generator, store).await?;
    let (name, kind) = (settings.models.generator.clone(), settings.models.device);
    let kv = KvSettings {
        capacity: KvCapacity::Bytes((settings.engine.kv_memory_mib as u64) << 20),
        precision: KvPrecision::default(),
    };
    let config = EngineConfig {
        max_sequences: settings.engine.max_sequences,
        queue_capacity: settings.engine.queue_capacity,
        prefill_chunk: settings.engine.prefill_chunk,
        prefix_cache_percent: settings.engine.prefix_cache_percent,
        speculation_rows: settings.engine.speculation_rows,
        default_deadline: settings.engine.deadline,
    };
    blocking(move || {
        let device = device::open(kind).map_err(|error| error.to_string())?;
        let mut loaded = model::load(&path, &device, kv).map_err(|error| error.to_string())?;
        loaded.info.name = name;
        let engine = Engine::start(loaded.into(), config).map_err(|error| error.to_string())?;
        Ok(Arc::new(engine) as Arc<dyn Generator>)
    })
    .await
}

/// Loading reads gigabytes; it must not hold up the server's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(format!("loading stopped: {error}")),
    }
}
