//! Checks on files: free space, checksum, the stamp that remembers a checksum, the lock of a model's folder.

use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::manifest::ModelFile;

/// `path` with something behind its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Length of a file; 0 when there is none.
pub(super) async fn length(path: &Path) -> io::Result<u64> {
    match tokio::fs::metadata(path).await {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Removes a file that may be there.
pub(super) async fn remove(path: &Path) -> io::Result<()> {
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Bytes that this user may still write in `dir`, where the system can tell.
#[cfg(unix)]
pub(super) fn free_space(dir: &Path) -> io::Result<Option<u64>> {
    let statistics = rustix::fs::statvfs(dir)?;
    Ok(Some(statistics.f_bavail.saturating_mul(statistics.f_frsize)))
}

/// Bytes that this user may still write in `dir`, where the system can tell.
#[cfg(not(unix))]
pub(super) fn free_space(_dir: &Path) -> io::Result<Option<u64>> {
    Ok(None)
}

/// What `<file>.verified` says: this content, at this size and modification time, had this checksum.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Stamp {
    sha256: String,
    size: u64,
    modified_ns: u128,
}

impl Stamp {
    fn of(path: &Path, sha256: &str) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self { sha256: sha256.to_owned(), size: metadata.len(), modified_ns: modified.as_nanos() })
    }

    /// A models directory may be read-only: then the checksum is computed again next time.
    fn write(&self, path: &Path) {
        let written =
            serde_json::to_vec(self).map_err(io::Error::from).and_then(|json| std::fs::write(stamp_path(path), json));
        if let Err(error) = written {
            tracing::debug!(path = %path.display(), %error, "cannot remember a checksum");
        }
    }
}

fn stamp_path(path: &Path) -> PathBuf {
    beside(path, ".verified")
}

/// Whether the file is there with the manifest's size and checksum. Remembers a checksum that it had to compute.
pub(super) async fn is_verified(path: &Path, file: &ModelFile) -> io::Result<bool> {
    let (path, file) = (path.to_owned(), file.clone());
    blocking(move || {
        let stamp = match Stamp::of(&path, &file.sha256) {
            Ok(stamp) if stamp.size == file.size => stamp,
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let known =
            std::fs::read(stamp_path(&path)).ok().and_then(|bytes| serde_json::from_slice::<Stamp>(&bytes).ok());
        if known.as_ref() == Some(&stamp) {
            return Ok(true);
        }
        let found = sha256_of(&path)?;
        if found != file.sha256 {
            tracing::warn!(path = %path.display(), %found, expected = file.sha256, "a model file has another content");
            return Ok(false);
        }
        stamp.write(&path);
        Ok(true)
    })
    .await
}

/// Notes that the file was just compared with its checksum.
pub(super) async fn remember_verified(path: &Path, file: &ModelFile) -> io::Result<()> {
    let (path, sha256) = (path.to_owned(), file.sha256.clone());
    blocking(move || {
        Stamp::of(&path, &sha256)?.write(&path);
        Ok(())
    })
    .await
}

/// The checksum of a file, in lower-case hexadecimal.
pub(super) async fn sha256(path: &Path) -> io::Result<String> {
    let path = path.to_owned();
    blocking(move || sha256_of(&path)).await
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Held while a model's folder is written; freed on drop, and by the system when the process dies.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Waits for whoever holds the lock.
    pub(super) async fn acquire(dir: &Path) -> io::Result<Self> {
        const LOOK_AGAIN: Duration = Duration::from_millis(250);
        let file = File::options().create(true).truncate(false).write(true).open(dir.join(".lock"))?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if told => {}
                Err(TryLockError::WouldBlock) => {
                    tracing::info!(dir = %dir.display(), "waiting: this model is being pulled by another process");
                    told = true;
                }
            }
            // Polled, as a blocking wait could not be cancelled.
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Of "model".
    const SHA256: &str = "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4";

    fn model_file() -> ModelFile {
        ModelFile { name: "m".to_owned(), size: 5, sha256: SHA256.to_owned(), sources: Vec::new() }
    }

    #[tokio::test]
    async fn a_checksum_is_computed_once_and_again_after_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        let stamp = dir.path().join("m.verified");
        assert!(!is_verified(&path, &model_file()).await.unwrap());

        std::fs::write(&path, "model").unwrap();
        assert!(is_verified(&path, &model_file()).await.unwrap());
        assert!(stamp.is_file());

        // The stamp is believed: the content is not read again.
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, "MODEL").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert!(is_verified(&path, &model_file()).await.unwrap());

        // Another time of modification: it is.
        File::options().write(true).open(&path).unwrap().set_modified(UNIX_EPOCH).unwrap();
        assert!(!is_verified(&path, &model_file()).await.unwrap());

        std::fs::write(&path, "longer model").unwrap();
        assert!(!is_verified(&path, &model_file()).await.unwrap());
    }

    #[tokio::test]
    async fn a_stamp_of_another_manifest_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        std::fs::write(&path, "model").unwrap();
        assert!(is_verified(&path, &model_file()).await.unwrap());
        let newer = ModelFile { sha256: "0".repeat(64), ..model_file() };
        assert!(!is_verified(&path, &newer).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_lock_waits_for_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = FolderLock::acquire(dir.path()).await.unwrap();
        let mut second = Box::pin(FolderLock::acquire(dir.path()));
        assert!(tokio::time::timeout(Duration::from_secs(60), &mut second).await.is_err());
        drop(first);
        second.await.unwrap();
    }
}
