//! Pulling a model: sources in order, resuming, checking, putting in place.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use tokio::fs::{self, File};
use tokio::io::{AsyncSeekExt, AsyncWriteExt, SeekFrom};
use tokio::time::timeout;

use super::ModelStore;
use super::disk::{self, FolderLock, beside};
use super::manifest::{Manifest, ModelFile, SourceKind, SourceSpec};
use super::sources::{self, Download, Piece, Request, STALL_DEADLINE, SourceError};

/// Left free on the disk beyond what the download needs.
const SPACE_MARGIN: u64 = 64 << 20;

/// Tries of one source, as long as each one brings something: a weak line may break off several times.
const TRIES: usize = 8;
const PAUSE_BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// How far a pull is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullProgress<'a> {
    /// The file's name.
    pub file: &'a str,
    /// Bytes of this file that have arrived. Falls when a source has to start again.
    pub bytes_done: u64,
    pub bytes_total: u64,
    pub source: SourceKind,
}

/// What came of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFailure {
    /// The source, in words.
    pub source: String,
    pub error: SourceError,
}

/// Why a model could not be pulled. The texts are for the operator and say what to do.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error("there is no model `{name}`; known are {}", .known.join(", "))]
    UnknownModel { name: String, known: Vec<String> },
    #[error(
        "{} has {free_bytes} free bytes, the pull needs {needed_bytes}. Make room, or set another models directory \
         (--models-dir)", .dir.display()
    )]
    NotEnoughSpace { dir: PathBuf, needed_bytes: u64, free_bytes: u64 },
    #[error("{}: {error}. Check that the models directory can be written, or set another one (--models-dir)", .path.display())]
    Disk { path: PathBuf, error: io::Error },
    /// Every source failed; each with its reason.
    #[error(
        "no source gave {} ({} bytes):{}\nOr copy the file there by hand; its sha256 is {}", .path.display(), .file.size,
        .failures.iter().map(|failure| format!("\n  - {}: {}", failure.source, failure.error)).collect::<String>(),
        .file.sha256
    )]
    AllSourcesFailed { path: PathBuf, file: Box<ModelFile>, failures: Vec<SourceFailure> },
}

impl PullError {
    fn disk(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Disk { path, error }
    }
}

/// What ends a try: the source's fault, after which the next one has its turn, or ours, which no other source would mend.
enum Failure {
    Source(SourceError),
    Ours(PullError),
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl From<PullError> for Failure {
    fn from(error: PullError) -> Self {
        Self::Ours(error)
    }
}

type OnProgress<'a> = &'a (dyn Fn(PullProgress<'_>) + Send + Sync);

pub(super) async fn pull(store: &ModelStore, name: &str, progress: OnProgress<'_>) -> Result<Vec<PathBuf>, PullError> {
    let Some(manifest) = store.manifest(name) else {
        let known = store.manifests().map(|manifest| manifest.name.clone()).collect();
        return Err(PullError::UnknownModel { name: name.to_owned(), known });
    };
    if let Some(paths) = store.locate(name).await {
        return Ok(paths);
    }
    let dir = store.model_dir(manifest);
    fs::create_dir_all(&dir).await.map_err(PullError::disk(&dir))?;
    let _lock = FolderLock::acquire(&dir).await.map_err(PullError::disk(&dir))?;

    let mut paths = Vec::with_capacity(manifest.files.len());
    for file in &manifest.files {
        paths.push(FilePull::new(store, manifest, file, progress).run().await?);
    }
    Ok(paths)
}

/// The pull of one file, under the folder's lock.
struct FilePull<'a> {
    store: &'a ModelStore,
    file: &'a ModelFile,
    progress: OnProgress<'a>,
    path: PathBuf,
    /// The file's beginning, from whatever sources.
    part: PathBuf,
    scratch: PathBuf,
}

impl<'a> FilePull<'a> {
    fn new(store: &'a ModelStore, manifest: &Manifest, file: &'a ModelFile, progress: OnProgress<'a>) -> Self {
        let path = store.file_path(manifest, file);
        Self { store, file, progress, part: beside(&path, ".part"), scratch: beside(&path, ".packages"), path }
    }

    async fn run(&self) -> Result<PathBuf, PullError> {
        if disk::is_verified(&self.path, self.file).await.map_err(PullError::disk(&self.path))? {
            return Ok(self.path.clone());
        }
        let mut failures = Vec::new();
        for source in &self.file.sources {
            tracing::debug!(file = self.file.name, %source, "trying a source");
            match self.pull_from(source).await {
                Ok(()) => return Ok(self.path.clone()),
                Err(Failure::Ours(error)) => return Err(error),
                Err(Failure::Source(error)) => {
                    tracing::warn!(file = self.file.name, %source, %error, "this source does not give the model");
                    failures.push(SourceFailure { source: source.to_string(), error });
                }
            }
        }
        Err(PullError::AllSourcesFailed { path: self.path.clone(), file: Box::new(self.file.clone()), failures })
    }

    /// Tries a source until it fails without having brought anything.
    async fn pull_from(&self, source: &SourceSpec) -> Result<(), Failure> {
        if !self.store.allowed.contains(&source.kind()) {
            return Err(SourceError::NotAllowed(source.kind()).into());
        }
        let mut tries = 1;
        loop {
            let before = self.part_length().await?;
            let result = self.try_once(source, before).await;
            // Also what an earlier process left behind.
            self.clear_scratch().await;
            match result {
                Err(Failure::Source(SourceError::Interrupted(reason)))
                    if tries < TRIES && self.part_length().await? > before =>
                {
                    tracing::warn!(file = self.file.name, %source, reason, "the transfer broke off, going on");
                    tokio::time::sleep(PAUSE_BETWEEN_TRIES).await;
                }
                // The bytes of an earlier try were wrong, or did not fit to this one's: once more from the beginning.
                Err(Failure::Source(SourceError::OtherContent(reason))) if before > 0 && tries < TRIES => {
                    tracing::warn!(file = self.file.name, %source, reason, "the resumed file is wrong, starting again");
                }
                result => return result,
            }
            tries += 1;
        }
    }

    async fn try_once(&self, source: &SourceSpec, have: u64) -> Result<(), Failure> {
        if have < self.file.size {
            self.require_space(self.file.size - have + sources::scratch_bytes(source, self.file))?;
            self.clear_scratch().await;
            let request = Request { file: self.file, source, offset: have, scratch: &self.scratch };
            let download = self.store.fetch.open(request).await?;
            match self.write(download, source.kind()).await {
                Err(Failure::Source(error @ SourceError::OtherContent(_))) => {
                    self.remove_part().await?;
                    return Err(error.into());
                }
                written => written?,
            }
        }
        self.publish().await
    }

    /// Appends what arrives to the part file. What has arrived stays there when the transfer breaks off.
    async fn write(&self, download: Download, source: SourceKind) -> Result<(), Failure> {
        let Download { start, mut pieces } = download;
        let disk_error = || PullError::disk(&self.part);
        let mut part = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.part)
            .await
            .map_err(PullError::disk(&self.part))?;
        part.set_len(start).await.map_err(disk_error())?;
        part.seek(SeekFrom::Start(start)).await.map_err(disk_error())?;

        let size = self.file.size;
        let mut done = start;
        self.report(done, source);
        let ended = loop {
            let piece = match timeout(STALL_DEADLINE, pieces.next()).await {
                Ok(Some(Ok(piece))) => piece,
                Ok(Some(Err(error))) => break Err(error),
                Ok(None) if done < size => break Err(SourceError::Interrupted(format!("{done} of {size} bytes came"))),
                Ok(None) => break Ok(()),
                Err(_) => {
                    let seconds = STALL_DEADLINE.as_secs();
                    break Err(SourceError::Interrupted(format!("nothing came for {seconds} seconds")));
                }
            };
            match piece {
                Piece::Bytes(bytes) if bytes.len() as u64 > size - done => {
                    break Err(SourceError::OtherContent(format!("longer than {size} bytes")));
                }
                Piece::Bytes(bytes) => {
                    part.write_all(&bytes).await.map_err(disk_error())?;
                    done += bytes.len() as u64;
                    self.report(done, source);
                }
                Piece::Received(pending) => self.report(done + pending.min(size - done), source),
            }
        };
        part.flush().await.map_err(disk_error())?;
        part.sync_all().await.map_err(disk_error())?;
        Ok(ended?)
    }

    /// Compares the checksum of the complete part file and moves it into place.
    async fn publish(&self) -> Result<(), Failure> {
        let found = disk::sha256(&self.part).await.map_err(PullError::disk(&self.part))?;
        if found != self.file.sha256 {
            self.remove_part().await?;
            let reason = format!("sha256 {found}, the manifest says {}", self.file.sha256);
            return Err(SourceError::OtherContent(reason).into());
        }
        fs::rename(&self.part, &self.path).await.map_err(PullError::disk(&self.path))?;
        disk::remember_verified(&self.path, self.file).await.map_err(PullError::disk(&self.path))?;
        Ok(())
    }

    async fn part_length(&self) -> Result<u64, PullError> {
        let length = disk::length(&self.part).await.map_err(PullError::disk(&self.part))?;
        // A part file longer than the file is none of ours.
        Ok(if length > self.file.size { 0 } else { length })
    }

    async fn remove_part(&self) -> Result<(), PullError> {
        disk::remove(&self.part).await.map_err(PullError::disk(&self.part))
    }

    async fn clear_scratch(&self) {
        match fs::remove_dir_all(&self.scratch).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!(folder = %self.scratch.display(), %error, "cannot remove the downloaded packages yet");
            }
            _ => {}
        }
    }

    fn require_space(&self, bytes: u64) -> Result<(), PullError> {
        let dir = self.path.parent().unwrap_or(&self.store.dir);
        let needed_bytes = bytes.saturating_add(SPACE_MARGIN);
        match disk::free_space(dir).map_err(PullError::disk(dir))? {
            Some(free_bytes) if free_bytes < needed_bytes => {
                Err(PullError::NotEnoughSpace { dir: dir.to_owned(), needed_bytes, free_bytes })
            }
            _ => Ok(()),
        }
    }

    fn report(&self, bytes_done: u64, source: SourceKind) {
        (self.progress)(PullProgress { file: &self.file.name, bytes_done, bytes_total: self.file.size, source });
    }
}
