//! Files and concepts into the index.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::chunk::{Chunk, pack, plain_blocks};
use super::index::{Collection, DocumentKey, DocumentKind, IndexError, NewDocument, NewPassage, Put, Vector};
use super::markdown;
use super::parts::RetrievalParts;
use crate::domain::{Grade, Subject};
use crate::embedding::TextKind;

/// Part of every hash: raising it makes every document be read again.
const PIPELINE: &str = "1";

/// Concepts kept per passage.
const CONCEPTS: usize = 5;

/// Passages encoded between two writes of [`Indexer::encode_missing`].
const ENCODE_BATCH: usize = 64;

/// What a document is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceFormat {
    Markdown,
    PlainText,
}

impl SourceFormat {
    /// By the name's ending; `None` for what cannot be read.
    pub fn from_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "md" | "markdown" => Some(Self::Markdown),
            "txt" => Some(Self::PlainText),
            _ => None,
        }
    }
}

/// Where documents belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngestOptions {
    pub collection: Collection,
    pub subject: Option<Subject>,
    pub grade: Option<Grade>,
    /// The school that alone will see them; `None` for everyone.
    pub school: Option<String>,
}

/// A document to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceDocument {
    /// What it is called where it comes from; the same reference is the same document.
    pub reference: String,
    pub format: SourceFormat,
    pub bytes: Vec<u8>,
}

/// A concept as the index stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConceptText {
    pub id: String,
    pub title: String,
    /// Markdown.
    pub text: String,
    pub subject: Subject,
    pub grade: Grade,
}

/// Why a document was not taken.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("cannot read it: {0}")]
    Read(#[from] std::io::Error),
    #[error("only Markdown (.md) and plain text (.txt) can be read")]
    Format,
    #[error("it is not UTF-8 text")]
    Encoding,
    #[error("it holds no text")]
    Empty,
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// What happened to one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingested {
    Added(Uuid),
    Unchanged(Uuid),
    Replaced(Uuid),
}

impl From<Put> for Ingested {
    fn from(put: Put) -> Self {
        match put {
            Put::Added(id) => Self::Added(id),
            Put::Replaced(id) => Self::Replaced(id),
        }
    }
}

/// What became of a set of files.
#[derive(Debug, Default)]
pub struct IngestReport {
    pub added: Vec<String>,
    pub unchanged: Vec<String>,
    pub replaced: Vec<String>,
    pub failed: Vec<(PathBuf, IngestError)>,
}

/// Counts of [`Indexer::sync_concepts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncReport {
    pub added: usize,
    pub unchanged: usize,
    pub replaced: usize,
    pub removed: usize,
}

/// Reads documents into an index. Encoder and graph are optional; what is stored without vectors gets them from
/// [`Self::encode_missing`] once there is an encoder.
#[derive(Clone)]
pub struct Indexer {
    parts: RetrievalParts,
}

impl Indexer {
    pub fn new(parts: RetrievalParts) -> Self {
        Self { parts }
    }

    /// Reads files, and folders with all that is below them. Hidden files and, inside folders, files of other formats
    /// are passed over. A file that fails is reported and stops nothing.
    ///
    /// A file in a folder is referred to by the folder's name and its path below it (`documents/函数/难点.md`).
    pub async fn ingest_paths(&self, paths: &[PathBuf], options: &IngestOptions) -> IngestReport {
        let mut report = IngestReport::default();
        let mut files = Vec::new();
        for path in paths {
            let found = path.clone();
            match tokio::task::spawn_blocking(move || list(&found)).await {
                Ok(Ok(found)) => files.extend(found),
                Ok(Err(error)) => report.failed.push((path.clone(), error.into())),
                Err(error) => report.failed.push((path.clone(), std::io::Error::other(error).into())),
            }
        }
        for (path, reference) in files {
            match self.ingest_file(&path, &reference, options).await {
                Ok(Ingested::Added(_)) => report.added.push(reference),
                Ok(Ingested::Unchanged(_)) => report.unchanged.push(reference),
                Ok(Ingested::Replaced(_)) => report.replaced.push(reference),
                Err(error) => report.failed.push((path, error)),
            }
        }
        report
    }

    async fn ingest_file(
        &self,
        path: &Path,
        reference: &str,
        options: &IngestOptions,
    ) -> Result<Ingested, IngestError> {
        let format = SourceFormat::from_path(path).ok_or(IngestError::Format)?;
        let bytes = tokio::fs::read(path).await?;
        self.ingest(SourceDocument { reference: reference.to_owned(), format, bytes }, options).await
    }

    /// Reads one document; the one with the same reference, collection and school is replaced if it changed.
    pub async fn ingest(&self, source: SourceDocument, options: &IngestOptions) -> Result<Ingested, IngestError> {
        let text = std::str::from_utf8(&source.bytes).map_err(|_| IngestError::Encoding)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (title, blocks) = match source.format {
            SourceFormat::Markdown => {
                let parsed = markdown::parse(text);
                (parsed.title, parsed.blocks)
            }
            SourceFormat::PlainText => (None, plain_blocks(text)),
        };
        let chunks = pack(&blocks);
        if chunks.is_empty() {
            return Err(IngestError::Empty);
        }
        let name = Path::new(&source.reference).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let title = title.or(name).unwrap_or_else(|| source.reference.clone());
        let document = NewDocument {
            key: DocumentKey {
                collection: options.collection,
                kind: DocumentKind::Document,
                reference: source.reference,
                school: options.school.clone(),
            },
            hash: hash(&[&title, text], options.subject, options.grade),
            title,
            subject: options.subject,
            grade: options.grade,
        };
        Ok(self.store(document, chunks, None).await?)
    }

    /// Makes the index hold exactly these concepts (in the curriculum collection, shared).
    pub async fn sync_concepts(
        &self,
        concepts: impl IntoIterator<Item = ConceptText>,
    ) -> Result<SyncReport, IndexError> {
        let mut report = SyncReport::default();
        let mut present = HashSet::new();
        for concept in concepts {
            let document = NewDocument {
                key: DocumentKey {
                    collection: Collection::Curriculum,
                    kind: DocumentKind::Concept,
                    reference: concept.id.clone(),
                    school: None,
                },
                hash: hash(&[&concept.title, &concept.text], Some(concept.subject), Some(concept.grade)),
                title: concept.title,
                subject: Some(concept.subject),
                grade: Some(concept.grade),
            };
            let chunks = pack(&markdown::parse(&concept.text).blocks);
            match self.store(document, chunks, Some(&concept.id)).await? {
                Ingested::Added(_) => report.added += 1,
                Ingested::Unchanged(_) => report.unchanged += 1,
                Ingested::Replaced(_) => report.replaced += 1,
            }
            present.insert(concept.id);
        }
        for (id, reference) in self.parts.index.references(DocumentKind::Concept).await? {
            if !present.contains(&reference) && self.parts.index.delete(id).await? {
                report.removed += 1;
            }
        }
        Ok(report)
    }

    /// Gives vectors to the passages that were stored without, or by another encoder; answers how many. Stops at the
    /// first failure of the encoder, with what is done kept.
    pub async fn encode_missing(&self) -> Result<usize, IndexError> {
        let Some(encoder) = &self.parts.encoder else {
            return Ok(0);
        };
        let mut done = 0;
        loop {
            let batch = self.parts.index.unencoded(encoder.name(), ENCODE_BATCH).await?;
            if batch.is_empty() {
                return Ok(done);
            }
            let texts = batch.iter().map(|p| encoded_text(&p.title, p.locator.as_deref(), &p.text)).collect();
            let Some(vectors) = self.encode(texts).await else {
                return Ok(done);
            };
            done += batch.len();
            self.parts.index.set_vectors(batch.into_iter().map(|passage| passage.id).zip(vectors).collect()).await?;
        }
    }

    async fn store(
        &self,
        document: NewDocument,
        chunks: Vec<Chunk>,
        concept: Option<&str>,
    ) -> Result<Ingested, IndexError> {
        if let Some((id, hash)) = self.parts.index.stored(&document.key).await?
            && hash == document.hash
        {
            return Ok(Ingested::Unchanged(id));
        }
        let title = document.title.as_str();
        let texts = chunks.iter().map(|chunk| encoded_text(title, chunk.locator.as_deref(), &chunk.text)).collect();
        let vectors = self.encode(texts).await;
        let mut vectors = vectors.into_iter().flatten();
        let passages = chunks
            .into_iter()
            .map(|chunk| {
                let heading = chunk.locator.as_deref().unwrap_or_default();
                NewPassage {
                    title_words: self.parts.segmenter.joined(&format!("{title} {heading}")),
                    words: self.parts.segmenter.joined(&chunk.text),
                    concepts: match concept {
                        Some(id) => vec![id.to_owned()],
                        None => self.concepts(&format!("{heading}\n{}", chunk.text), &document),
                    },
                    vector: vectors.next(),
                    locator: chunk.locator,
                    text: chunk.text,
                }
            })
            .collect();
        Ok(self.parts.index.put(document, passages).await?.into())
    }

    fn concepts(&self, text: &str, document: &NewDocument) -> Vec<String> {
        // Grade is left out: a grade-8 document speaks of grade-7 concepts.
        let linked = self.parts.linker.iter().flat_map(|linker| linker.link(text, document.subject, None, CONCEPTS));
        linked.map(|concept| concept.id).collect()
    }

    /// `None` without an encoder that answers.
    async fn encode(&self, texts: Vec<String>) -> Option<Vec<Vector>> {
        let encoder = self.parts.encoder.as_ref()?;
        match encoder.encode(TextKind::Passage, texts).await {
            Ok(encoded) => {
                let name = encoder.name();
                Some(encoded.vectors.into_iter().map(|values| Vector { encoder: name.to_owned(), values }).collect())
            }
            Err(error) => {
                tracing::warn!(%error, "passages are stored without vectors");
                None
            }
        }
    }
}

/// What the encoder reads of a passage: a passage alone often does not say what it is about.
fn encoded_text(title: &str, locator: Option<&str>, text: &str) -> String {
    match (title, locator) {
        ("", None) => text.to_owned(),
        (title, None) => format!("{title}\n{text}"),
        (title, Some(locator)) => format!("{title} › {locator}\n{text}"),
    }
}

fn hash(texts: &[&str], subject: Option<Subject>, grade: Option<Grade>) -> String {
    let mut hasher = Sha256::new();
    let scope = format!("{PIPELINE}|{}|{}", subject.map_or("", |s| s.id()), grade.map_or(0, |g| g.number()));
    for text in texts.iter().copied().chain([scope.as_str()]) {
        // Lengths keep the parts apart.
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The files at or below a path, each with its reference, in order of name.
fn list(path: &Path) -> std::io::Result<Vec<(PathBuf, String)>> {
    let root = path.canonicalize()?;
    if root.is_file() {
        let name = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        return Ok(vec![(root, name)]);
    }
    let base = root.parent().unwrap_or(&root).to_owned();
    let visible = |entry: &walkdir::DirEntry| {
        entry.depth() == 0 || !entry.file_name().to_str().is_some_and(|name| name.starts_with('.'))
    };
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(&root).sort_by_file_name().into_iter().filter_entry(visible) {
        let entry = entry?;
        if entry.file_type().is_file() && SourceFormat::from_path(entry.path()).is_some() {
            let below = entry.path().strip_prefix(&base).unwrap_or(entry.path());
            let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
            files.push((entry.path().to_owned(), parts.join("/")));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_lists_its_readable_files_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("资料");
        std::fs::create_dir_all(root.join("b")).unwrap();
        for name in ["c.md", "b/a.TXT", ".hidden.md", "image.png"] {
            std::fs::write(root.join(name), "x").unwrap();
        }
        let found: Vec<String> = list(&root).unwrap().into_iter().map(|(_, reference)| reference).collect();
        assert_eq!(found, ["资料/b/a.TXT", "资料/c.md"]);
        assert_eq!(list(&root.join("c.md")).unwrap()[0].1, "c.md");
        assert!(list(&root.join("none")).is_err());
    }

    #[test]
    fn the_hash_tells_parts_apart() {
        let math = Some(Subject::Math);
        assert_ne!(hash(&["a", "bc"], math, None), hash(&["ab", "c"], math, None));
        assert_ne!(hash(&["a"], math, None), hash(&["a"], math, Grade::new(7).ok()));
        assert_eq!(hash(&["a"], math, None).len(), 64);
    }
}
