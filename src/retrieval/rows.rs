//! Between the index's types and SQL.

use half::f16;
use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};
use uuid::Uuid;

use super::index::{Collection, Document, DocumentKey, DocumentKind, Filter, Passage, Unencoded, Visibility};
use super::vectors::{Scope, VectorRow};
use crate::domain::{Grade, Subject};
use crate::store::StoreError;

/// Appends the conditions of a filter on `documents d` to a query that has a `WHERE`.
pub(super) fn push_filter(query: &mut QueryBuilder<Sqlite>, filter: &Filter) {
    if let Some(collection) = filter.collection {
        query.push(" AND d.collection = ").push_bind(collection.id());
    }
    if let Some(subject) = filter.subject {
        query.push(" AND (d.subject IS NULL OR d.subject = ").push_bind(subject.id()).push(")");
    }
    if let Some(grade) = filter.grade {
        query.push(" AND (d.grade IS NULL OR d.grade = ").push_bind(i64::from(grade.number())).push(")");
    }
    push_visibility(query, &filter.visibility);
}

pub(super) fn push_visibility(query: &mut QueryBuilder<Sqlite>, visibility: &Visibility) {
    match visibility.school() {
        None => query.push(" AND d.school IS NULL"),
        Some(school) => query.push(" AND (d.school IS NULL OR d.school = ").push_bind(school.to_owned()).push(")"),
    };
}

fn corrupt(error: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(error.to_string())
}

pub(super) fn uuid(text: &str) -> Result<Uuid, StoreError> {
    text.parse().map_err(corrupt)
}

fn kind(text: &str) -> Result<DocumentKind, StoreError> {
    match text {
        "document" => Ok(DocumentKind::Document),
        "concept" => Ok(DocumentKind::Concept),
        other => Err(corrupt(format!("document kind `{other}`"))),
    }
}

fn subject(row: &SqliteRow) -> Result<Option<Subject>, StoreError> {
    let id: Option<String> = row.try_get("subject")?;
    id.map(|id| id.parse()).transpose().map_err(corrupt)
}

fn grade(row: &SqliteRow) -> Result<Option<Grade>, StoreError> {
    let number: Option<i64> = row.try_get("grade")?;
    number.map(Grade::new).transpose().map_err(corrupt)
}

fn collection(row: &SqliteRow) -> Result<Collection, StoreError> {
    row.try_get::<&str, _>("collection")?.parse().map_err(corrupt)
}

fn timestamp(row: &SqliteRow, column: &str) -> Result<Timestamp, StoreError> {
    row.try_get::<&str, _>(column)?.parse().map_err(corrupt)
}

/// Columns of [`document`].
pub(super) const DOCUMENT_COLUMNS: &str = "SELECT d.*, \
    (SELECT count(*) FROM passages p WHERE p.document_id = d.id) AS passage_count FROM documents d";

pub(super) fn document(row: &SqliteRow) -> Result<Document, StoreError> {
    Ok(Document {
        id: uuid(row.try_get("id")?)?,
        key: DocumentKey {
            collection: collection(row)?,
            kind: kind(row.try_get("kind")?)?,
            reference: row.try_get("reference")?,
            school: row.try_get("school")?,
        },
        title: row.try_get("title")?,
        subject: subject(row)?,
        grade: grade(row)?,
        passages: row.try_get("passage_count")?,
        created_at: timestamp(row, "created_at")?,
        updated_at: timestamp(row, "updated_at")?,
    })
}

/// Columns of [`passage`].
pub(super) const PASSAGE_COLUMNS: &str = "SELECT p.id, p.document_id, p.locator, p.text, d.kind, d.reference, d.title, \
    (SELECT json_group_array(c.concept ORDER BY c.position) FROM passage_concepts c WHERE c.passage = p.number) \
    AS concepts FROM passages p JOIN documents d ON d.id = p.document_id";

pub(super) fn passage(row: &SqliteRow) -> Result<Passage, StoreError> {
    Ok(Passage {
        id: uuid(row.try_get("id")?)?,
        document_id: uuid(row.try_get("document_id")?)?,
        kind: kind(row.try_get("kind")?)?,
        reference: row.try_get("reference")?,
        title: row.try_get("title")?,
        locator: row.try_get("locator")?,
        text: row.try_get("text")?,
        concepts: serde_json::from_str(row.try_get("concepts")?).map_err(corrupt)?,
    })
}

pub(super) fn unencoded(row: &SqliteRow) -> Result<Unencoded, StoreError> {
    Ok(Unencoded {
        id: uuid(row.try_get("id")?)?,
        title: row.try_get("title")?,
        locator: row.try_get("locator")?,
        text: row.try_get("text")?,
    })
}

/// Columns of [`vector_row`].
pub(super) const VECTOR_COLUMNS: &str = "SELECT p.id, p.document_id, p.encoder, p.vector, d.collection, d.subject, \
    d.grade, d.school FROM passages p JOIN documents d ON d.id = p.document_id WHERE p.vector IS NOT NULL";

pub(super) fn vector_row(row: &SqliteRow) -> Result<VectorRow, StoreError> {
    let school: Option<&str> = row.try_get("school")?;
    Ok(VectorRow {
        passage: uuid(row.try_get("id")?)?,
        document: uuid(row.try_get("document_id")?)?,
        scope: Scope {
            collection: collection(row)?,
            subject: subject(row)?,
            grade: grade(row)?,
            school: school.map(Into::into),
        },
        encoder: row.try_get("encoder")?,
        values: row
            .try_get::<&[u8], _>("vector")?
            .as_chunks()
            .0
            .iter()
            .map(|&bytes| f16::from_le_bytes(bytes))
            .collect(),
    })
}

pub(super) fn blob(values: &[f16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
