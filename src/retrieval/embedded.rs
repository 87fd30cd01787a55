//! The index in SQLite, with a copy of the vectors in memory.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use half::f16;
use jiff::Timestamp;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::index::{
    Document, DocumentKey, DocumentKind, Filter, IndexError, NewDocument, NewPassage, Passage, PassageIndex, Put,
    Scored, Unencoded, Vector, Visibility,
};
use super::rows;
use super::vectors::{Scope, VectorCache, VectorRow};
use crate::store::{Database, StoreError};

/// Weight of a word in title or headings against one in the text.
const TITLE_WEIGHT: f64 = 1.5;

/// Words of a query that are looked for; longer queries are cut.
const QUERY_WORDS: usize = 128;

/// Values per statement, well below SQLite's limit of 32,766.
const BATCH: usize = 500;

/// FTS5 and vectors in the one database file. Cheap to share behind an `Arc`.
pub struct EmbeddedIndex {
    database: Database,
    cache: Arc<RwLock<VectorCache>>,
    /// Held from the start of a write until the cache shows it, and while the cache is read anew.
    writing: Mutex<()>,
}

impl EmbeddedIndex {
    /// Loads the vectors.
    pub async fn open(database: Database) -> Result<Self, IndexError> {
        let cache = Arc::new(RwLock::new(load(&database).await?));
        Ok(Self { database, cache, writing: Mutex::new(()) })
    }

    /// Reads the vectors anew when another process has written.
    async fn refresh(&self) -> Result<(), IndexError> {
        if self.version().await? == self.cached_version() {
            return Ok(());
        }
        let _writing = self.writing.lock().await;
        if self.version().await? != self.cached_version() {
            let fresh = load(&self.database).await?;
            *self.cache.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
        Ok(())
    }

    async fn version(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar("SELECT version FROM index_state").fetch_one(self.database.pool()).await?)
    }

    fn cached_version(&self) -> i64 {
        self.cache.read().unwrap_or_else(PoisonError::into_inner).version
    }

    /// Brings the cache from the version before `version` to `version`. If another process wrote in between, the cache
    /// keeps its old version and the next search reads it anew.
    fn apply(&self, version: i64, change: impl FnOnce(&mut VectorCache)) {
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        if cache.version + 1 == version {
            change(&mut cache);
            cache.version = version;
        }
    }

    /// Vectors are compared value by value: those of one encoder have one length.
    fn check_vectors<'a>(&self, vectors: impl Iterator<Item = &'a Vector>) -> Result<(), IndexError> {
        let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
        let mut widths: HashMap<&str, usize> = HashMap::new();
        for vector in vectors {
            let found = vector.values.len();
            let known = cache.width(&vector.encoder).unwrap_or(found);
            let expected = *widths.entry(&vector.encoder).or_insert(known);
            if expected != found {
                return Err(IndexError::VectorLength { encoder: vector.encoder.clone(), expected, found });
            }
        }
        Ok(())
    }
}

async fn load(database: &Database) -> Result<VectorCache, StoreError> {
    let mut transaction = database.pool().begin().await?;
    let version = sqlx::query_scalar("SELECT version FROM index_state").fetch_one(&mut *transaction).await?;
    let rows = sqlx::query(rows::VECTOR_COLUMNS).fetch_all(&mut *transaction).await?;
    let rows = rows.iter().map(rows::vector_row).collect::<Result<Vec<_>, _>>()?;
    Ok(VectorCache::new(version, rows))
}

async fn next_version(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("UPDATE index_state SET version = version + 1 RETURNING version")
        .fetch_one(connection)
        .await?)
}

#[async_trait]
impl PassageIndex for EmbeddedIndex {
    async fn put(&self, document: NewDocument, passages: Vec<NewPassage>) -> Result<Put, IndexError> {
        self.check_vectors(passages.iter().filter_map(|passage| passage.vector.as_ref()))?;
        let _writing = self.writing.lock().await;
        let mut transaction = self.database.pool().begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::from)?;
        let existing = find(&mut transaction, &document.key).await?;
        let (put, mut old_ids) = match &existing {
            Some((id, _)) => (Put::Replaced(*id), clear(&mut transaction, *id).await?),
            None => (Put::Added(Uuid::now_v7()), HashMap::new()),
        };
        let (Put::Added(id) | Put::Replaced(id)) = put;
        write_document(&mut transaction, id, &document, existing.is_some()).await?;
        let scope = Scope {
            collection: document.key.collection,
            subject: document.subject,
            grade: document.grade,
            school: document.key.school.as_deref().map(Into::into),
        };
        let mut vectors = Vec::new();
        for (position, passage) in passages.into_iter().enumerate() {
            // A citation of a passage that stays in the document must stay valid.
            let passage_id = old_ids.get_mut(&passage.text).and_then(Vec::pop).unwrap_or_else(Uuid::now_v7);
            let halves = passage.vector.as_ref().map(|vector| halves(&vector.values));
            write_passage(&mut transaction, (passage_id, id), position, &passage, halves.as_deref()).await?;
            if let (Some(vector), Some(values)) = (passage.vector, halves) {
                vectors.push(VectorRow {
                    passage: passage_id,
                    document: id,
                    scope: scope.clone(),
                    encoder: vector.encoder,
                    values,
                });
            }
        }
        let version = next_version(&mut transaction).await?;
        transaction.commit().await.map_err(StoreError::from)?;
        self.apply(version, |cache| {
            cache.remove_document(id);
            cache.add(vectors);
        });
        Ok(put)
    }

    async fn stored(&self, key: &DocumentKey) -> Result<Option<(Uuid, String)>, IndexError> {
        let mut connection = self.database.pool().acquire().await.map_err(StoreError::from)?;
        Ok(find(&mut connection, key).await?)
    }

    async fn delete(&self, id: Uuid) -> Result<bool, IndexError> {
        let _writing = self.writing.lock().await;
        let mut transaction = self.database.pool().begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::from)?;
        clear(&mut transaction, id).await?;
        let deleted = sqlx::query("DELETE FROM documents WHERE id = ?")
            .bind(id.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::from)?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        let version = next_version(&mut transaction).await?;
        transaction.commit().await.map_err(StoreError::from)?;
        self.apply(version, |cache| cache.remove_document(id));
        Ok(true)
    }

    async fn document(&self, id: Uuid, visibility: &Visibility) -> Result<Option<Document>, IndexError> {
        let mut query = QueryBuilder::new(rows::DOCUMENT_COLUMNS);
        query.push(" WHERE d.id = ").push_bind(id.to_string());
        rows::push_visibility(&mut query, visibility);
        let row = query.build().fetch_optional(self.database.pool()).await.map_err(StoreError::from)?;
        Ok(row.as_ref().map(rows::document).transpose()?)
    }

    async fn documents(&self, filter: &Filter, after: Option<Uuid>, limit: usize) -> Result<Vec<Document>, IndexError> {
        let mut query = QueryBuilder::new(rows::DOCUMENT_COLUMNS);
        query.push(" WHERE d.id > ").push_bind(after.map(|id| id.to_string()).unwrap_or_default());
        rows::push_filter(&mut query, filter);
        query.push(" ORDER BY d.id LIMIT ").push_bind(limit as i64);
        let found = query.build().fetch_all(self.database.pool()).await.map_err(StoreError::from)?;
        Ok(found.iter().map(rows::document).collect::<Result<_, _>>()?)
    }

    async fn references(&self, kind: DocumentKind) -> Result<Vec<(Uuid, String)>, IndexError> {
        let found: Vec<(String, String)> =
            sqlx::query_as("SELECT id, reference FROM documents WHERE kind = ? AND school IS NULL")
                .bind(kind.id())
                .fetch_all(self.database.pool())
                .await
                .map_err(StoreError::from)?;
        let found = found.into_iter().map(|(id, reference)| Ok((rows::uuid(&id)?, reference)));
        Ok(found.collect::<Result<_, StoreError>>()?)
    }

    async fn passages(&self, ids: &[Uuid], visibility: &Visibility) -> Result<Vec<Passage>, IndexError> {
        let mut found: HashMap<Uuid, Passage> = HashMap::with_capacity(ids.len());
        for batch in ids.chunks(BATCH) {
            let mut query = QueryBuilder::new(rows::PASSAGE_COLUMNS);
            push_ids(query.push(" WHERE p.id IN ("), batch);
            rows::push_visibility(&mut query, visibility);
            for row in query.build().fetch_all(self.database.pool()).await.map_err(StoreError::from)? {
                let passage = rows::passage(&row)?;
                found.insert(passage.id, passage);
            }
        }
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    async fn by_words(&self, words: &[String], filter: &Filter, limit: usize) -> Result<Vec<Scored>, IndexError> {
        let Some(expression) = any_of(words) else {
            return Ok(Vec::new());
        };
        let mut query = QueryBuilder::new("SELECT p.id, -bm25(passages_fts, ");
        query.push_bind(TITLE_WEIGHT).push(
            ", 1.0) AS score FROM passages_fts JOIN passages p ON p.number = passages_fts.rowid \
             JOIN documents d ON d.id = p.document_id WHERE passages_fts MATCH ",
        );
        query.push_bind(expression);
        rows::push_filter(&mut query, filter);
        query.push(" ORDER BY score DESC, p.number LIMIT ").push_bind(limit as i64);
        scored(query, &self.database).await
    }

    async fn by_vector(&self, vector: &Vector, filter: &Filter, limit: usize) -> Result<Vec<Scored>, IndexError> {
        self.refresh().await?;
        let (cache, vector, filter) = (Arc::clone(&self.cache), vector.clone(), filter.clone());
        let scan = move || cache.read().unwrap_or_else(PoisonError::into_inner).scan(&vector, &filter, limit);
        match tokio::task::spawn_blocking(scan).await {
            Ok(found) => Ok(found),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only a runtime that is shutting down cancels the scan; nobody waits for its result.
                Err(_) => Ok(Vec::new()),
            },
        }
    }

    async fn by_concepts(
        &self,
        concepts: &[(String, f64)],
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<Scored>, IndexError> {
        if concepts.is_empty() {
            return Ok(Vec::new());
        }
        let mut query = QueryBuilder::new("WITH wanted (concept, weight) AS (");
        query.push_values(concepts.iter().take(BATCH), |mut row, (concept, weight)| {
            row.push_bind(concept.clone()).push_bind(*weight);
        });
        // A passage mostly about a concept comes before one that mentions it.
        query.push(
            ") SELECT p.id, max(w.weight / (1.0 + 0.25 * c.position)) AS score FROM wanted w \
             JOIN passage_concepts c ON c.concept = w.concept JOIN passages p ON p.number = c.passage \
             JOIN documents d ON d.id = p.document_id WHERE true",
        );
        rows::push_filter(&mut query, filter);
        query.push(" GROUP BY p.number ORDER BY score DESC, p.number LIMIT ").push_bind(limit as i64);
        scored(query, &self.database).await
    }

    async fn unencoded(&self, encoder: &str, limit: usize) -> Result<Vec<Unencoded>, IndexError> {
        let found = sqlx::query(
            "SELECT p.id, d.title, p.locator, p.text FROM passages p JOIN documents d ON d.id = p.document_id \
             WHERE p.encoder IS NOT ? ORDER BY p.number LIMIT ?",
        )
        .bind(encoder)
        .bind(limit as i64)
        .fetch_all(self.database.pool())
        .await
        .map_err(StoreError::from)?;
        Ok(found.iter().map(rows::unencoded).collect::<Result<_, _>>()?)
    }

    async fn set_vectors(&self, vectors: Vec<(Uuid, Vector)>) -> Result<(), IndexError> {
        self.check_vectors(vectors.iter().map(|(_, vector)| vector))?;
        let _writing = self.writing.lock().await;
        let mut transaction = self.database.pool().begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::from)?;
        for (id, vector) in &vectors {
            sqlx::query("UPDATE passages SET encoder = ?, vector = ? WHERE id = ?")
                .bind(vector.encoder.as_str())
                .bind(rows::blob(&halves(&vector.values)))
                .bind(id.to_string())
                .execute(&mut *transaction)
                .await
                .map_err(StoreError::from)?;
        }
        let ids: Vec<Uuid> = vectors.iter().map(|(id, _)| *id).collect();
        let mut written = Vec::with_capacity(ids.len());
        for batch in ids.chunks(BATCH) {
            let mut query = QueryBuilder::new(rows::VECTOR_COLUMNS);
            push_ids(query.push(" AND p.id IN ("), batch);
            for row in query.build().fetch_all(&mut *transaction).await.map_err(StoreError::from)? {
                written.push(rows::vector_row(&row)?);
            }
        }
        let version = next_version(&mut transaction).await?;
        transaction.commit().await.map_err(StoreError::from)?;
        self.apply(version, |cache| {
            cache.remove_passages(&ids.into_iter().collect::<HashSet<_>>());
            cache.add(written);
        });
        Ok(())
    }
}

fn halves(values: &[f32]) -> Vec<f16> {
    values.iter().map(|&value| f16::from_f32(value)).collect()
}

fn push_ids(query: &mut QueryBuilder<Sqlite>, ids: &[Uuid]) {
    let mut list = query.separated(", ");
    ids.iter().for_each(|id| {
        list.push_bind(id.to_string());
    });
    list.push_unseparated(")");
}

/// The FTS5 expression for passages with any of the words, each as a quoted string: no word is an operator. FTS5 reads
/// the expression as a C string, so a NUL would end it.
fn any_of(words: &[String]) -> Option<String> {
    let mut seen = HashSet::new();
    let quoted: Vec<String> = words
        .iter()
        .filter(|word| !word.contains('\0') && seen.insert(word.as_str()))
        .take(QUERY_WORDS)
        .map(|word| format!("\"{}\"", word.replace('"', "\"\"")))
        .collect();
    (!quoted.is_empty()).then(|| quoted.join(" OR "))
}

async fn scored(mut query: QueryBuilder<Sqlite>, database: &Database) -> Result<Vec<Scored>, IndexError> {
    let found = query.build().fetch_all(database.pool()).await.map_err(StoreError::from)?;
    let found =
        found.iter().map(|row| Ok(Scored { id: rows::uuid(row.try_get("id")?)?, score: row.try_get("score")? }));
    Ok(found.collect::<Result<_, StoreError>>()?)
}

async fn find(connection: &mut SqliteConnection, key: &DocumentKey) -> Result<Option<(Uuid, String)>, StoreError> {
    let found: Option<(String, String)> = sqlx::query_as(
        "SELECT id, hash FROM documents WHERE collection = ? AND kind = ? AND reference = ? \
         AND ifnull(school, '') = ifnull(?, '')",
    )
    .bind(key.collection.id())
    .bind(key.kind.id())
    .bind(key.reference.as_str())
    .bind(key.school.as_deref())
    .fetch_optional(connection)
    .await?;
    found.map(|(id, hash)| Ok((rows::uuid(&id)?, hash))).transpose()
}

/// Removes a document's passages; answers the ids that each text had.
async fn clear(connection: &mut SqliteConnection, document: Uuid) -> Result<HashMap<String, Vec<Uuid>>, StoreError> {
    let id = document.to_string();
    sqlx::query("DELETE FROM passages_fts WHERE rowid IN (SELECT number FROM passages WHERE document_id = ?)")
        .bind(id.as_str())
        .execute(&mut *connection)
        .await?;
    let removed: Vec<(String, String)> =
        sqlx::query_as("DELETE FROM passages WHERE document_id = ? RETURNING id, text")
            .bind(id.as_str())
            .fetch_all(&mut *connection)
            .await?;
    let mut ids: HashMap<String, Vec<Uuid>> = HashMap::new();
    for (id, text) in removed {
        ids.entry(text).or_default().push(rows::uuid(&id)?);
    }
    Ok(ids)
}

async fn write_document(
    connection: &mut SqliteConnection,
    id: Uuid,
    document: &NewDocument,
    exists: bool,
) -> Result<(), StoreError> {
    let now = Timestamp::now().to_string();
    let (subject, grade) = (document.subject.map(|s| s.id()), document.grade.map(|g| i64::from(g.number())));
    if exists {
        sqlx::query("UPDATE documents SET title = ?, subject = ?, grade = ?, hash = ?, updated_at = ? WHERE id = ?")
            .bind(document.title.as_str())
            .bind(subject)
            .bind(grade)
            .bind(document.hash.as_str())
            .bind(now)
            .bind(id.to_string())
            .execute(connection)
            .await?;
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO documents (id, collection, kind, reference, title, subject, grade, school, hash, created_at, \
         updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(id.to_string())
    .bind(document.key.collection.id())
    .bind(document.key.kind.id())
    .bind(document.key.reference.as_str())
    .bind(document.title.as_str())
    .bind(subject)
    .bind(grade)
    .bind(document.key.school.as_deref())
    .bind(document.hash.as_str())
    .bind(now.as_str())
    .bind(now.as_str())
    .execute(connection)
    .await?;
    Ok(())
}

async fn write_passage(
    connection: &mut SqliteConnection,
    (id, document): (Uuid, Uuid),
    position: usize,
    passage: &NewPassage,
    vector: Option<&[f16]>,
) -> Result<(), StoreError> {
    let number: i64 = sqlx::query_scalar(
        "INSERT INTO passages (id, document_id, position, locator, text, encoder, vector) VALUES (?, ?, ?, ?, ?, ?, ?) \
         RETURNING number",
    )
    .bind(id.to_string())
    .bind(document.to_string())
    .bind(position as i64)
    .bind(passage.locator.as_deref())
    .bind(passage.text.as_str())
    .bind(passage.vector.as_ref().map(|vector| vector.encoder.as_str()))
    .bind(vector.map(rows::blob))
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query("INSERT INTO passages_fts (rowid, title, body) VALUES (?, ?, ?)")
        .bind(number)
        .bind(passage.title_words.as_str())
        .bind(passage.words.as_str())
        .execute(&mut *connection)
        .await?;
    for (position, concept) in passage.concepts.iter().enumerate() {
        sqlx::query("INSERT OR IGNORE INTO passage_concepts (concept, passage, position) VALUES (?, ?, ?)")
            .bind(concept.as_str())
            .bind(number)
            .bind(position as i64)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
