//! What a model consists of and where it can be had: `models/*.toml`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rust_embed::Embed;
use serde::Deserialize;

#[derive(Embed)]
#[folder = "models/"]
struct Embedded;

/// One model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Used on the command line, on the wire and as the folder's name.
    pub name: String,
    /// For people.
    pub title: String,
    pub role: ModelRole,
    /// The architecture that reads the files: `qwen2`, `qwen3`, `llama`, `gemma3`, `bert`.
    pub architecture: String,
    /// SPDX expression of the weights' licence.
    pub licence: String,
    #[serde(default)]
    pub notes: String,
    /// The file that a loader opens comes first.
    pub files: Vec<ModelFile>,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelRole {
    /// Writes text.
    Generator,
    /// Turns sentences into vectors.
    Encoder,
}

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Name in the model's folder.
    pub name: String,
    /// Length in bytes.
    pub size: u64,
    /// Lower-case hexadecimal.
    pub sha256: String,
    /// In the order in which they are tried.
    pub sources: Vec<SourceSpec>,
}

/// Where a file can be had.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SourceSpec {
    /// A file on this machine or on a drive that it has mounted.
    Local { path: PathBuf },
    /// A repository on the Hugging Face hub or a mirror of it.
    Hub {
        /// `owner/name`.
        repo: String,
        /// Branch, tag or commit.
        #[serde(default = "main_branch")]
        revision: String,
        /// Path in the repository; the file's name when absent.
        path: Option<String>,
    },
    /// Wheels of a Python package index.
    PackageIndex(PackageSource),
}

/// A file cut into one or more wheels. In `package` and `member`, `{n}` stands for the part's number from 1, `{nn}` for the
/// same with at least two digits, `{nn-1}` for the number from 0 with at least two digits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageSource {
    pub package: String,
    pub version: String,
    /// Path of the data inside the wheel.
    pub member: String,
    /// Number of parts, concatenated in order.
    #[serde(default = "one")]
    pub parts: u32,
    /// Length of every part but the last; needed when there are several.
    pub part_bytes: Option<u64>,
    /// Asks for the wheel of this platform instead of this machine's own.
    pub platform: Option<String>,
}

fn main_branch() -> String {
    "main".to_owned()
}

fn one() -> u32 {
    1
}

/// The kinds of [`SourceSpec`], as configuration and messages name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    Local,
    Hub,
    PackageIndex,
}

impl SourceKind {
    pub const ALL: [Self; 3] = [Self::Local, Self::Hub, Self::PackageIndex];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Hub => "hub",
            Self::PackageIndex => "package-index",
        }
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is none of [`SourceKind`]'s.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no kind of model source; there are local, hub and package-index")]
pub struct UnknownSourceKind(String);

impl FromStr for SourceKind {
    type Err = UnknownSourceKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownSourceKind(text.to_owned()))
    }
}

impl SourceSpec {
    pub fn kind(&self) -> SourceKind {
        match self {
            Self::Local { .. } => SourceKind::Local,
            Self::Hub { .. } => SourceKind::Hub,
            Self::PackageIndex(_) => SourceKind::PackageIndex,
        }
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { path } => write!(f, "local file {}", path.display()),
            Self::Hub { repo, revision, .. } => write!(f, "Hugging Face hub {repo}@{revision}"),
            Self::PackageIndex(PackageSource { package, version, parts: 1, .. }) => {
                write!(f, "Python package index {package}=={version}")
            }
            Self::PackageIndex(PackageSource { package, version, parts, .. }) => {
                write!(f, "Python package index {package}=={version}, n = 1 to {parts}")
            }
        }
    }
}

impl PackageSource {
    /// The name of part `number`, counted from 1.
    pub(super) fn package_of(&self, number: u32) -> String {
        numbered(&self.package, number)
    }

    /// The path inside part `number`.
    pub(super) fn member_of(&self, number: u32) -> String {
        numbered(&self.member, number)
    }

    /// Length of every part but the last of a file of `size` bytes.
    pub(super) fn part_bytes_of(&self, size: u64) -> u64 {
        self.part_bytes.unwrap_or(size)
    }
}

fn numbered(pattern: &str, number: u32) -> String {
    pattern
        .replace("{nn}", &format!("{number:02}"))
        .replace("{nn-1}", &format!("{:02}", number.saturating_sub(1)))
        .replace("{n}", &number.to_string())
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("cannot read {}: {error}", .path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{origin} is no model manifest: {error}")]
    Parse { origin: String, error: Box<toml::de::Error> },
    #[error("{origin}: {field} {reason}")]
    Invalid { origin: String, field: String, reason: &'static str },
}

impl Manifest {
    /// Reads a manifest; `origin` is what error messages call it.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ManifestError> {
        let manifest: Self = toml::from_str(text)
            .map_err(|error| ManifestError::Parse { origin: origin.to_owned(), error: Box::new(error) })?;
        match manifest.fault() {
            Some((field, reason)) => Err(ManifestError::Invalid { origin: origin.to_owned(), field, reason }),
            None => Ok(manifest),
        }
    }

    fn fault(&self) -> Option<(String, &'static str)> {
        if !is_plain_name(&self.name) {
            return Some(("name".to_owned(), "must be a plain file name"));
        }
        if self.files.is_empty() {
            return Some(("files".to_owned(), "must not be empty"));
        }
        self.files.iter().find_map(|file| Some((format!("file {}:", file.name), file.fault()?)))
    }
}

impl ModelFile {
    fn fault(&self) -> Option<&'static str> {
        let is_hash = self.sha256.len() == 64 && self.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_plain_name(&self.name) {
            return Some("name must be a plain file name");
        }
        if self.size == 0 {
            return Some("size must not be 0");
        }
        if !is_hash {
            return Some("sha256 must be 64 lower-case hexadecimal digits");
        }
        self.sources.iter().find_map(|source| match source {
            SourceSpec::Local { path } if !path.is_absolute() => Some("a local path must be absolute"),
            SourceSpec::PackageIndex(parts) if !parts.covers(self.size) => {
                Some("parts of part_bytes each (the last one shorter) must add up to size")
            }
            _ => None,
        })
    }
}

impl PackageSource {
    fn covers(&self, size: u64) -> bool {
        match self.part_bytes {
            None => self.parts == 1,
            Some(0) => false,
            Some(part_bytes) => size.div_ceil(part_bytes) == u64::from(self.parts),
        }
    }
}

/// Names become paths below the models directory: nothing in them may lead out of it or clash with our own files.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// The manifests built into this binary.
pub(super) fn embedded() -> Result<BTreeMap<String, Manifest>, ManifestError> {
    let mut manifests = BTreeMap::new();
    for path in Embedded::iter() {
        let Some(file) = Embedded::get(&path) else { continue };
        let manifest = Manifest::parse(&String::from_utf8_lossy(&file.data), &format!("models/{path}"))?;
        manifests.insert(manifest.name.clone(), manifest);
    }
    Ok(manifests)
}

/// The manifests of a folder.
pub(super) fn from_folder(folder: &Path) -> Result<BTreeMap<String, Manifest>, ManifestError> {
    let read_error = |path: &Path| {
        let path = path.to_owned();
        move |error| ManifestError::Read { path, error }
    };
    let mut manifests = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(read_error(folder))? {
        let path = entry.map_err(read_error(folder))?.path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(read_error(&path))?;
        let manifest = Manifest::parse(&text, &path.display().to_string())?;
        manifests.insert(manifest.name.clone(), manifest);
    }
    Ok(manifests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_manifests_are_valid_and_named_like_their_files() {
        let manifests = embedded().unwrap();
        let names: Vec<_> = manifests.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["gemma3-270m", "multilingual-e5-small", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b", "smollm2-135m"]
        );
        for path in Embedded::iter() {
            assert!(manifests.contains_key(path.trim_end_matches(".toml")), "{path}");
        }
        for file in manifests.values().flat_map(|manifest| &manifest.files) {
            assert!(file.sources.iter().any(|source| source.kind() == SourceKind::PackageIndex), "{}", file.name);
        }
    }

    fn check(file: &str, expected: Result<(), &str>) {
        let text = format!(
            "name = 'm'\ntitle = 'M'\nrole = 'generator'\narchitecture = 'llama'\nlicence = 'MIT'\n[[files]]\n{file}"
        );
        let found = Manifest::parse(&text, "m.toml").map(|_| ()).map_err(|error| error.to_string());
        match expected {
            Ok(()) => assert_eq!(found, Ok(()), "{file}"),
            Err(part) => assert!(found.clone().is_err_and(|error| error.contains(part)), "{file}: {found:?}"),
        }
    }

    #[test]
    fn a_manifest_that_could_not_be_pulled_is_refused() {
        let hash = "0".repeat(64);
        let file = |name: &str, size: u64| format!("name = '{name}'\nsize = {size}\nsha256 = '{hash}'\n");
        let with = |source: &str| format!("{}[[files.sources]]\n{source}", file("a.gguf", 100));
        let parts = |rest: &str| with(&format!("kind='package-index'\npackage='p'\nversion='1'\nmember='d'\n{rest}"));
        check(&with("kind = 'hub'\nrepo = 'a/b'"), Ok(()));
        check(&with("kind = 'hub'\nrepository = 'a/b'"), Err("unknown field"));
        check(&with("kind = 'torrent'"), Err("unknown variant"));
        check(&with("kind = 'local'\npath = '/srv/a.gguf'"), Ok(()));
        check(&with("kind = 'local'\npath = 'a.gguf'"), Err("must be absolute"));
        check(&parts(""), Ok(()));
        check(&parts("parts = 3\npart_bytes = 40"), Ok(()));
        check(&parts("parts = 2\npart_bytes = 50"), Ok(()));
        check(&parts("parts = 2"), Err("add up"));
        check(&parts("parts = 2\npart_bytes = 40"), Err("add up"));
        check(&parts("parts = 3\npart_bytes = 0"), Err("add up"));
        check(&format!("{}sources = []", file("../../etc/passwd", 1)), Err("plain file name"));
        check(&format!("{}sources = []", file(".lock", 1)), Err("plain file name"));
        check(&format!("{}sources = []", file("a.gguf", 0)), Err("size"));
        check("name = 'a'\nsize = 1\nsha256 = 'ABC'\nsources = []", Err("sha256"));
        check("name = 'a'", Err("missing field"));
    }

    #[test]
    fn a_folder_of_manifests_adds_to_the_shipped_ones_and_overrides_them() {
        let folder = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string("models/smollm2-135m.toml").unwrap();
        std::fs::write(folder.path().join("own.toml"), text.replace("name = \"smollm2-135m\"", "name = \"own\""))
            .unwrap();
        std::fs::write(folder.path().join("smollm2-135m.toml"), text.replace("SmolLM2 135M", "Ours")).unwrap();
        std::fs::write(folder.path().join("README.md"), "no manifest").unwrap();
        let store = super::super::ModelStore::new("/nowhere").unwrap().with_manifests_from(folder.path()).unwrap();
        assert!(store.manifest("own").is_some());
        assert!(store.manifest("smollm2-135m").unwrap().title.starts_with("Ours"));
        assert_eq!(store.manifests().count(), 6);

        let missing = folder.path().join("missing");
        assert!(matches!(from_folder(&missing), Err(ManifestError::Read { path, .. }) if path == missing));
    }

    #[test]
    fn part_names_are_numbered_from_one() {
        let source = PackageSource {
            package: "model-part{n}".to_owned(),
            version: "1".to_owned(),
            member: "model_part{n}/part{nn}.bin".to_owned(),
            parts: 12,
            part_bytes: Some(1),
            platform: None,
        };
        assert_eq!(source.package_of(3), "model-part3");
        assert_eq!(source.member_of(3), "model_part3/part03.bin");
        assert_eq!(source.member_of(12), "model_part12/part12.bin");
        let from_zero = PackageSource { member: "part{n}/file.part{nn-1}".to_owned(), ..source };
        assert_eq!(from_zero.member_of(1), "part1/file.part00");
        assert_eq!(from_zero.member_of(12), "part12/file.part11");
    }

    #[test]
    fn source_kinds_are_read_back_from_their_names() {
        for kind in SourceKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("ftp".parse::<SourceKind>().is_err());
    }
}
