//! Lesson plans and the chat beside them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Database, StoreError};
use crate::domain::{LessonPlan, Principal, Role, SectionName};

/// What a list shows of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PlanSummary {
    pub id: Uuid,
    pub topic: String,
    pub subject: String,
    pub grade: u8,
    pub minutes: u16,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// Who said a message beside a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MessageRole {
    User,
    Assistant,
}

/// One message of the chat beside a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanMessage {
    pub id: Uuid,
    pub role: MessageRole,
    /// Citation marks are `[c1]`, keys of the plan's citations.
    pub text: String,
    pub citations: Vec<String>,
    /// The section that this message changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section: Option<SectionName>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// The table of lesson plans. Every call takes the [`Principal`] and answers as if what it may not read did not exist:
/// a plan belongs to the key that made it; administrators see their school's (or, without a school, all).
#[derive(Clone, Debug)]
pub struct PlanStore {
    database: Database,
}

/// The condition on `lesson_plans` rows that a principal may read, with `?1` = key and `?2` = school.
fn readable(principal: &Principal) -> &'static str {
    match (principal.role, &principal.school) {
        (Role::Administrator, None) => "(?1 = ?1 AND ?2 IS NULL)",
        (Role::Administrator, Some(_)) => "(owner = ?1 OR school = ?2)",
        _ => "(owner = ?1 AND school IS ?2)",
    }
}

impl PlanStore {
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Adds a plan that belongs to `principal`.
    pub async fn insert(&self, principal: &Principal, plan: &LessonPlan) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO lesson_plans (id, owner, school, topic, subject, grade, created_at, updated_at, document)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )
        .bind(plan.id.to_string())
        .bind(principal.key_id.to_string())
        .bind(principal.school.as_deref())
        .bind(&plan.topic)
        .bind(plan.subject.id())
        .bind(i64::from(plan.grade.number()))
        .bind(plan.created_at.to_string())
        .bind(plan.updated_at.to_string())
        .bind(encode(plan)?)
        .execute(self.database.pool())
        .await?;
        Ok(())
    }

    pub async fn get(&self, principal: &Principal, id: Uuid) -> Result<Option<LessonPlan>, StoreError> {
        let sql = format!("SELECT document FROM lesson_plans WHERE {} AND id = ?3", readable(principal));
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(principal.key_id.to_string())
            .bind(principal.school.as_deref())
            .bind(id.to_string())
            .fetch_optional(self.database.pool())
            .await?;
        row.map(|row| decode(row.try_get::<&str, _>("document")?)).transpose()
    }

    /// Replaces the stored plan if it is still the version that was read at `read_at` (its `updated_at`); `false` when it
    /// has changed or gone meanwhile.
    pub async fn update(
        &self,
        principal: &Principal,
        plan: &LessonPlan,
        read_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = format!(
            "UPDATE lesson_plans SET document = ?3, updated_at = ?4 WHERE {} AND id = ?5 AND updated_at = ?6",
            readable(principal)
        );
        let result = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(principal.key_id.to_string())
            .bind(principal.school.as_deref())
            .bind(encode(plan)?)
            .bind(plan.updated_at.to_string())
            .bind(plan.id.to_string())
            .bind(read_at.to_string())
            .execute(self.database.pool())
            .await?;
        Ok(result.rows_affected() == 1)
    }

    /// `false` when there was nothing to delete.
    pub async fn delete(&self, principal: &Principal, id: Uuid) -> Result<bool, StoreError> {
        let sql = format!("DELETE FROM lesson_plans WHERE {} AND id = ?3", readable(principal));
        let result = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(principal.key_id.to_string())
            .bind(principal.school.as_deref())
            .bind(id.to_string())
            .execute(self.database.pool())
            .await?;
        Ok(result.rows_affected() == 1)
    }

    /// Newest first; `before` is the last id of the page before.
    pub async fn list(
        &self,
        principal: &Principal,
        before: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<PlanSummary>, StoreError> {
        let sql = format!(
            "SELECT id, topic, subject, grade, document ->> '$.minutes' AS minutes, created_at, updated_at
             FROM lesson_plans WHERE {} AND (?3 IS NULL OR id < ?3) ORDER BY id DESC LIMIT ?4",
            readable(principal)
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(principal.key_id.to_string())
            .bind(principal.school.as_deref())
            .bind(before.map(|id| id.to_string()))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(self.database.pool())
            .await?;
        rows.iter().map(summary).collect()
    }

    pub async fn add_message(&self, plan: Uuid, message: &PlanMessage) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO lesson_messages (id, plan_id, role, text, citations, section, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .bind(message.id.to_string())
        .bind(plan.to_string())
        .bind(match message.role {
            MessageRole::User => "user",
            MessageRole::Assistant => "assistant",
        })
        .bind(&message.text)
        .bind(encode(&message.citations)?)
        .bind(message.section.map(SectionName::id))
        .bind(message.created_at.to_string())
        .execute(self.database.pool())
        .await?;
        Ok(())
    }

    /// The newest `limit` messages, oldest first. The caller has read the plan, so may read its messages.
    pub async fn messages(&self, plan: Uuid, limit: usize) -> Result<Vec<PlanMessage>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM (SELECT * FROM lesson_messages WHERE plan_id = ?1 ORDER BY id DESC LIMIT ?2) ORDER BY id",
        )
        .bind(plan.to_string())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(self.database.pool())
        .await?;
        rows.iter().map(message).collect()
    }
}

fn encode(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn decode<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn parse<T: std::str::FromStr>(row: &SqliteRow, column: &str) -> Result<T, StoreError> {
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|_| StoreError::Corrupt(format!("column `{column}` holds `{text}`")))
}

fn summary(row: &SqliteRow) -> Result<PlanSummary, StoreError> {
    Ok(PlanSummary {
        id: parse(row, "id")?,
        topic: row.try_get("topic")?,
        subject: row.try_get("subject")?,
        grade: row.try_get("grade")?,
        minutes: row.try_get("minutes")?,
        created_at: parse(row, "created_at")?,
        updated_at: parse(row, "updated_at")?,
    })
}

fn message(row: &SqliteRow) -> Result<PlanMessage, StoreError> {
    let role = match row.try_get::<&str, _>("role")? {
        "user" => MessageRole::User,
        "assistant" => MessageRole::Assistant,
        other => return Err(StoreError::Corrupt(format!("message role `{other}`"))),
    };
    Ok(PlanMessage {
        id: parse(row, "id")?,
        role,
        text: row.try_get("text")?,
        citations: decode(row.try_get::<&str, _>("citations")?)?,
        section: row.try_get::<Option<&str>, _>("section")?.and_then(SectionName::from_id),
        created_at: parse(row, "created_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Coverage, GeneratedBy, Grade, Language, LessonSections, Subject};

    fn teacher(school: &str) -> Principal {
        Principal { key_id: Uuid::now_v7(), role: Role::Teacher, school: Some(school.to_owned()) }
    }

    fn plan() -> LessonPlan {
        let now = Timestamp::now();
        LessonPlan {
            id: Uuid::now_v7(),
            topic: "一元一次方程".to_owned(),
            subject: Subject::Math,
            grade: Grade::new(7).expect("grade"),
            minutes: 45,
            language: Language::Chinese,
            class_id: None,
            notes: None,
            concepts: Vec::new(),
            sections: LessonSections::default(),
            citations: Default::default(),
            coverage: Coverage::default(),
            generated_by: GeneratedBy { model: "m".to_owned(), prompt_version: "p".to_owned(), label: "l".to_owned() },
            created_at: now,
            updated_at: now,
        }
    }

    async fn store() -> PlanStore {
        PlanStore::new(Database::in_memory().await.expect("database"))
    }

    #[tokio::test]
    async fn a_plan_is_read_by_its_owner_and_the_schools_administrator_only() {
        let store = store().await;
        let owner = teacher("a");
        let plan = plan();
        store.insert(&owner, &plan).await.expect("insert");
        let admin = |school: Option<&str>| Principal {
            key_id: Uuid::now_v7(),
            role: Role::Administrator,
            school: school.map(str::to_owned),
        };
        for (reader, sees) in [
            (owner.clone(), true),
            (teacher("a"), false),
            (teacher("b"), false),
            (admin(Some("a")), true),
            (admin(Some("b")), false),
            (admin(None), true),
        ] {
            let found = store.get(&reader, plan.id).await.expect("get");
            assert_eq!(found.is_some(), sees, "{reader:?}");
            assert_eq!(store.list(&reader, None, 10).await.expect("list").len(), usize::from(sees));
        }
        assert!(!store.delete(&teacher("a"), plan.id).await.expect("delete"));
        assert!(store.delete(&owner, plan.id).await.expect("delete"));
    }

    #[tokio::test]
    async fn a_stale_update_is_refused() {
        let store = store().await;
        let owner = teacher("a");
        let mut plan = plan();
        store.insert(&owner, &plan).await.expect("insert");
        let read_at = plan.updated_at;
        plan.minutes = 40;
        plan.updated_at = Timestamp::now();
        assert!(store.update(&owner, &plan, read_at).await.expect("update"));
        assert!(!store.update(&owner, &plan, read_at).await.expect("second update"));
        assert_eq!(store.get(&owner, plan.id).await.expect("get").map(|plan| plan.minutes), Some(40));
        let listed = store.list(&owner, None, 10).await.expect("list");
        assert_eq!(listed.iter().map(|plan| plan.minutes).collect::<Vec<_>>(), [40]);
    }

    #[tokio::test]
    async fn lists_page_from_newest_to_oldest() {
        let store = store().await;
        let owner = teacher("a");
        let mut ids = Vec::new();
        for _ in 0..3 {
            let plan = plan();
            ids.push(plan.id);
            store.insert(&owner, &plan).await.expect("insert");
        }
        let first = store.list(&owner, None, 2).await.expect("list");
        assert_eq!(first.iter().map(|plan| plan.id).collect::<Vec<_>>(), [ids[2], ids[1]]);
        let second = store.list(&owner, Some(ids[1]), 2).await.expect("list");
        assert_eq!(second.iter().map(|plan| plan.id).collect::<Vec<_>>(), [ids[0]]);
    }

    #[tokio::test]
    async fn messages_go_with_their_plan() {
        let store = store().await;
        let owner = teacher("a");
        let plan = plan();
        store.insert(&owner, &plan).await.expect("insert");
        let message = PlanMessage {
            id: Uuid::now_v7(),
            role: MessageRole::Assistant,
            text: "好的[c1]".to_owned(),
            citations: vec!["c1".to_owned()],
            section: Some(SectionName::Procedure),
            created_at: Timestamp::now(),
        };
        store.add_message(plan.id, &message).await.expect("add");
        assert_eq!(store.messages(plan.id, 10).await.expect("messages"), [message]);
        store.delete(&owner, plan.id).await.expect("delete");
        assert!(store.messages(plan.id, 10).await.expect("messages").is_empty());
    }
}
