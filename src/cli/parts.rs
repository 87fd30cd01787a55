//! The parts that several commands open.

use std::path::PathBuf;
use std::sync::Arc;

use zhujiao::config::{ModelSettings, Settings};
use zhujiao::embedding::{E5Encoder, TextEncoder};
use zhujiao::graph::{Content, KnowledgeGraph, Linker};
use zhujiao::model_store::{ModelStore, pull_with_progress_bars};
use zhujiao::retrieval::{
    ConceptLinker, EmbeddedIndex, GraphConcepts, Indexer, PassageIndex, RetrievalParts, Searcher, Segmenter,
};
use zhujiao::runtime::device;
use zhujiao::store::Database;

use super::CliError;

/// The knowledge graph, for reading and for linking.
pub fn open_graph(settings: &Settings) -> Result<GraphConcepts, CliError> {
    let content = match &settings.graph.dir {
        Some(dir) => Content::Directory(dir),
        None => Content::Embedded,
    };
    let graph = KnowledgeGraph::load(content, &settings.graph.base)?;
    let linker = Arc::new(Linker::new(&graph));
    Ok(GraphConcepts { graph: Arc::new(graph), linker })
}

/// Both ends of the passage index: writing and searching.
pub struct IndexParts {
    pub indexer: Indexer,
    pub searcher: Arc<Searcher>,
}

/// Opens the index in the database. The encoder may be one that is still being loaded.
pub async fn open_index(
    database: &Database,
    concepts: &GraphConcepts,
    encoder: Arc<dyn TextEncoder>,
) -> Result<IndexParts, CliError> {
    let index: Arc<dyn PassageIndex> = Arc::new(EmbeddedIndex::open(database.clone()).await?);
    let segmenter = Arc::new(Segmenter::new(concepts.words()));
    let linker: Arc<dyn ConceptLinker> = Arc::new(concepts.clone());
    let parts = RetrievalParts::new(index, segmenter).with_encoder(encoder).with_linker(linker);
    Ok(IndexParts { indexer: Indexer::new(parts.clone()), searcher: Arc::new(Searcher::new(parts)) })
}

pub fn model_store(settings: &ModelSettings) -> Result<ModelStore, CliError> {
    Ok(ModelStore::new(&settings.dir)?)
}

/// The one file of a model, pulled with progress bars when it is missing.
pub async fn model_file(settings: &ModelSettings, name: &str) -> Result<PathBuf, CliError> {
    let store = model_store(settings)?;
    let files = match store.locate(name).await {
        Some(files) => files,
        None => pull_with_progress_bars(&store, name).await?,
    };
    files.into_iter().next().ok_or_else(|| CliError::NotFound(format!("the model `{name}` has no files")))
}

/// The configured text encoder, pulled when it is missing.
pub async fn load_encoder(settings: &ModelSettings) -> Result<Arc<dyn TextEncoder>, CliError> {
    let path = model_file(settings, &settings.encoder).await?;
    let device = device::open(settings.device)?;
    let name = settings.encoder.clone();
    Ok(Arc::new(E5Encoder::load(&path, name, &device)?))
}
