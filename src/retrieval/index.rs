//! What an index of passages can do. [`super::EmbeddedIndex`] is the default one.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::{Grade, Subject};
use crate::store::StoreError;

/// What a document is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Collection {
    /// Teaching: guides, lesson material, concepts.
    Curriculum,
    /// School life: rules, procedures, contacts.
    Affairs,
}

impl Collection {
    pub fn id(self) -> &'static str {
        match self {
            Self::Curriculum => "curriculum",
            Self::Affairs => "affairs",
        }
    }
}

impl fmt::Display for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// The text names no collection.
#[derive(Debug, thiserror::Error)]
#[error("unknown collection `{0}`: expected curriculum or affairs")]
pub struct UnknownCollection(pub String);

impl FromStr for Collection {
    type Err = UnknownCollection;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "curriculum" => Ok(Self::Curriculum),
            "affairs" => Ok(Self::Affairs),
            other => Err(UnknownCollection(other.to_owned())),
        }
    }
}

/// Where a document comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DocumentKind {
    /// A file.
    Document,
    /// A concept of the knowledge graph; its reference is the concept's id.
    Concept,
}

impl DocumentKind {
    pub fn id(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::Concept => "concept",
        }
    }
}

/// What identifies a document across re-reading: same key, same document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DocumentKey {
    pub collection: Collection,
    pub kind: DocumentKind,
    /// Relative path or concept id.
    pub reference: String,
    /// The school that owns it; `None` for everyone.
    pub school: Option<String>,
}

/// A document to store.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDocument {
    pub key: DocumentKey,
    pub title: String,
    pub subject: Option<Subject>,
    pub grade: Option<Grade>,
    /// Hash of everything that the passages are made from.
    pub hash: String,
}

/// A passage of a [`NewDocument`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewPassage {
    pub locator: Option<String>,
    pub text: String,
    /// Segmented words of title and headings, separated by spaces.
    pub title_words: String,
    /// Segmented words of the text, separated by spaces.
    pub words: String,
    pub concepts: Vec<String>,
    pub vector: Option<Vector>,
}

/// A unit vector and the encoder that made it; vectors of different encoders are never compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Vector {
    pub encoder: String,
    pub values: Vec<f32>,
}

/// A stored document.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub id: Uuid,
    pub key: DocumentKey,
    pub title: String,
    pub subject: Option<Subject>,
    pub grade: Option<Grade>,
    pub passages: u32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A stored passage with what a reader needs of its document.
#[derive(Clone, Debug, PartialEq)]
pub struct Passage {
    pub id: Uuid,
    pub document_id: Uuid,
    pub kind: DocumentKind,
    /// The document's reference: for a concept, the concept's id.
    pub reference: String,
    pub title: String,
    pub locator: Option<String>,
    pub text: String,
    pub concepts: Vec<String>,
}

/// Who is looking.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Visibility {
    /// Shared passages only.
    #[default]
    Shared,
    /// Shared passages and those of this school.
    School(String),
}

impl From<Option<String>> for Visibility {
    fn from(school: Option<String>) -> Self {
        school.map_or(Self::Shared, Self::School)
    }
}

impl Visibility {
    pub fn sees(&self, owner: Option<&str>) -> bool {
        match (owner, self) {
            (None, _) => true,
            (Some(owner), Self::School(school)) => owner == school,
            (Some(_), Self::Shared) => false,
        }
    }

    pub(super) fn school(&self) -> Option<&str> {
        match self {
            Self::Shared => None,
            Self::School(school) => Some(school),
        }
    }
}

/// Which passages a search may return. A passage without subject (or grade) belongs to every one.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Filter {
    pub collection: Option<Collection>,
    pub subject: Option<Subject>,
    pub grade: Option<Grade>,
    pub visibility: Visibility,
}

/// What [`PassageIndex::put`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    Added(Uuid),
    /// The document existed; its id, and the ids of passages whose text stayed the same, are kept.
    Replaced(Uuid),
}

/// A passage and how well it fits; the scale is the search's own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    pub id: Uuid,
    pub score: f64,
}

/// A passage that lacks a vector of the wanted encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unencoded {
    pub id: Uuid,
    pub title: String,
    pub locator: Option<String>,
    pub text: String,
}

/// Why the index could not answer.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("vectors of `{encoder}` have {expected} values, one has {found}")]
    VectorLength { encoder: String, expected: usize, found: usize },
}

/// Stores passages and finds them by words, vector or concept.
#[async_trait]
pub trait PassageIndex: Send + Sync {
    /// Stores a document with its passages, all or nothing; replaces the one with the same key.
    async fn put(&self, document: NewDocument, passages: Vec<NewPassage>) -> Result<Put, IndexError>;

    /// Id and hash of the document with this key.
    async fn stored(&self, key: &DocumentKey) -> Result<Option<(Uuid, String)>, IndexError>;

    /// Removes a document with all that belongs to it; false when there was none.
    async fn delete(&self, id: Uuid) -> Result<bool, IndexError>;

    async fn document(&self, id: Uuid, visibility: &Visibility) -> Result<Option<Document>, IndexError>;

    /// Documents by id (which is by age), after the id `after`.
    async fn documents(&self, filter: &Filter, after: Option<Uuid>, limit: usize) -> Result<Vec<Document>, IndexError>;

    /// References of all shared documents of a kind.
    async fn references(&self, kind: DocumentKind) -> Result<Vec<(Uuid, String)>, IndexError>;

    /// The passages with these ids that are visible, in the order of the ids.
    async fn passages(&self, ids: &[Uuid], visibility: &Visibility) -> Result<Vec<Passage>, IndexError>;

    /// BM25 over any of the words, best first, scores above 0.
    async fn by_words(&self, words: &[String], filter: &Filter, limit: usize) -> Result<Vec<Scored>, IndexError>;

    /// Cosine with the vectors of the same encoder, best first.
    async fn by_vector(&self, vector: &Vector, filter: &Filter, limit: usize) -> Result<Vec<Scored>, IndexError>;

    /// Passages about these concepts, each with its best concept's weight, best first.
    async fn by_concepts(
        &self,
        concepts: &[(String, f64)],
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<Scored>, IndexError>;

    /// Passages without a vector of this encoder.
    async fn unencoded(&self, encoder: &str, limit: usize) -> Result<Vec<Unencoded>, IndexError>;

    /// Sets vectors of passages; those deleted meanwhile are passed over.
    async fn set_vectors(&self, vectors: Vec<(Uuid, Vector)>) -> Result<(), IndexError>;
}
