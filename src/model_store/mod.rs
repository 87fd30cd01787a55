//! Model files: what there is (manifests), where it lies (the models directory), how it gets there (sources).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use zhujiao::model_store::{ModelStore, pull_with_progress_bars};
//!
//! let store = ModelStore::new("/var/cache/zhujiao/models")?;
//! let files = match store.locate("qwen2.5-coder-1.5b").await {
//!     Some(files) => files,
//!     None => pull_with_progress_bars(&store, "qwen2.5-coder-1.5b").await?,
//! };
//! # Ok(())
//! # }
//! ```
//!
//! The models directory holds one folder per model with its files under their manifest's names. Beside a file `x` there can
//! be `x.part` (an unfinished download), `x.verified` (its checksum was compared before) and, while a pull runs, a folder
//! of packages. Whoever copies a file into place by hand has a model that works: it is checked like a downloaded one.

mod disk;
mod manifest;
mod pull;
mod report;
mod sources;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use manifest::{Manifest, ManifestError, ModelFile, ModelRole, PackageSource, SourceKind, SourceSpec};
pub use pull::{PullError, PullProgress, SourceFailure};
pub use report::pull_with_progress_bars;
pub use sources::{ByteStream, Download, Fetch, Fetcher, Piece, Request, SourceError};

/// The manifests and the directory that their files are stored in.
#[derive(Clone)]
pub struct ModelStore {
    dir: PathBuf,
    manifests: BTreeMap<String, Manifest>,
    allowed: Vec<SourceKind>,
    fetch: Arc<dyn Fetch>,
}

impl ModelStore {
    /// A store with the manifests built into this binary. The directory need not exist yet.
    pub fn new(dir: impl Into<PathBuf>) -> Result<Self, ManifestError> {
        Ok(Self {
            dir: dir.into(),
            manifests: manifest::embedded()?,
            allowed: SourceKind::ALL.to_vec(),
            fetch: Arc::new(Fetcher::default()),
        })
    }

    /// Adds the manifests (`*.toml`) of a folder; one with a known name replaces the known one.
    pub fn with_manifests_from(mut self, folder: &Path) -> Result<Self, ManifestError> {
        self.manifests.extend(manifest::from_folder(folder)?);
        Ok(self)
    }

    /// Adds one manifest, or replaces the one of its name.
    pub fn with_manifest(mut self, manifest: Manifest) -> Self {
        self.manifests.insert(manifest.name.clone(), manifest);
        self
    }

    /// Uses only these kinds of source; their order stays that of the manifests.
    pub fn restricted_to(mut self, kinds: &[SourceKind]) -> Self {
        self.allowed = kinds.to_vec();
        self
    }

    /// Gets the bytes another way: a hub at another address, or a stand-in in tests.
    pub fn with_fetch(mut self, fetch: Arc<dyn Fetch>) -> Self {
        self.fetch = fetch;
        self
    }

    /// The models directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All manifests, by name.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.manifests.values()
    }

    /// The manifest of this name.
    pub fn manifest(&self, name: &str) -> Option<&Manifest> {
        self.manifests.get(name)
    }

    /// The model's files in the manifest's order, when all are there and right; `None` says that a pull is needed.
    ///
    /// The first call after a file changed reads it whole to compare its checksum (about a second per gigabyte); later
    /// ones only look at size and modification time.
    pub async fn locate(&self, name: &str) -> Option<Vec<PathBuf>> {
        let manifest = self.manifests.get(name)?;
        let mut paths = Vec::with_capacity(manifest.files.len());
        for file in &manifest.files {
            let path = self.file_path(manifest, file);
            match disk::is_verified(&path, file).await {
                Ok(true) => paths.push(path),
                Ok(false) => return None,
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "cannot check a model file");
                    return None;
                }
            }
        }
        Some(paths)
    }

    /// Fetches what is missing of a model and returns its files like [`Self::locate`].
    ///
    /// The sources are tried in the manifest's order; each goes on where the one before stopped. Two pulls of one model, in
    /// this process or another one, do not run at once: the second waits and then finds the files. Dropping the future
    /// stops everything that it started and keeps what has arrived.
    ///
    /// `progress` is called often, from the task that polls the future; it must not block.
    pub async fn pull(
        &self,
        name: &str,
        progress: impl Fn(PullProgress<'_>) + Send + Sync,
    ) -> Result<Vec<PathBuf>, PullError> {
        pull::pull(self, name, &progress).await
    }

    fn model_dir(&self, manifest: &Manifest) -> PathBuf {
        self.dir.join(&manifest.name)
    }

    fn file_path(&self, manifest: &Manifest, file: &ModelFile) -> PathBuf {
        self.model_dir(manifest).join(&file.name)
    }
}
