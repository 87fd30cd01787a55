//! The lesson plan: a published document format, so it is the same type in the store, in exports and on the wire
//! (DESIGN section 4).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Citation, Grade, Language, Subject};

/// Keys of [`LessonPlan::citations`], `c1`, `c2`, …
pub type CitationKeys = Vec<String>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LessonPlan {
    pub id: Uuid,
    pub topic: String,
    pub subject: Subject,
    pub grade: Grade,
    /// Length of the lesson; the procedure's minutes add up to it.
    pub minutes: u16,
    pub language: Language,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    pub concepts: Vec<ConceptRef>,
    pub sections: LessonSections,
    pub citations: BTreeMap<String, Citation>,
    pub coverage: Coverage,
    pub generated_by: GeneratedBy,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConceptRef {
    pub id: String,
    pub label: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LessonSections {
    pub objectives: Vec<Objective>,
    pub standards: Vec<StandardItem>,
    pub prerequisites: Vec<Prerequisite>,
    pub key_points: Vec<KeyPoint>,
    pub difficulties: Vec<Difficulty>,
    pub misconceptions: Vec<MisconceptionItem>,
    pub procedure: Vec<Step>,
    /// The plan of the blackboard, Markdown.
    pub board: String,
    pub homework: Homework,
    pub assessment: Vec<AssessmentCriterion>,
}

/// The sections in the order in which they are written and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SectionName {
    Objectives,
    Standards,
    Prerequisites,
    KeyPoints,
    Difficulties,
    Misconceptions,
    Procedure,
    Board,
    Homework,
    Assessment,
}

impl SectionName {
    pub const ALL: [Self; 10] = [
        Self::Objectives,
        Self::Standards,
        Self::Prerequisites,
        Self::KeyPoints,
        Self::Difficulties,
        Self::Misconceptions,
        Self::Procedure,
        Self::Board,
        Self::Homework,
        Self::Assessment,
    ];

    pub fn id(self) -> &'static str {
        match self {
            Self::Objectives => "objectives",
            Self::Standards => "standards",
            Self::Prerequisites => "prerequisites",
            Self::KeyPoints => "key_points",
            Self::Difficulties => "difficulties",
            Self::Misconceptions => "misconceptions",
            Self::Procedure => "procedure",
            Self::Board => "board",
            Self::Homework => "homework",
            Self::Assessment => "assessment",
        }
    }

    pub fn label_zh(self) -> &'static str {
        match self {
            Self::Objectives => "教学目标",
            Self::Standards => "课标依据",
            Self::Prerequisites => "学情与先备知识",
            Self::KeyPoints => "教学重点",
            Self::Difficulties => "教学难点",
            Self::Misconceptions => "易错点",
            Self::Procedure => "教学过程",
            Self::Board => "板书设计",
            Self::Homework => "分层作业",
            Self::Assessment => "学习评价",
        }
    }

    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.id() == id)
    }
}

/// Who worded a text that the language model is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TextSource {
    /// The language model, checked against its material.
    Model,
    /// Wording that people have vetted for any topic: what the model wrote failed its checks.
    Vetted,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Objective {
    pub text: String,
    pub competency: String,
    pub citations: CitationKeys,
    /// Absent when a person wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<TextSource>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StandardItem {
    pub code: String,
    pub text: String,
    pub citations: CitationKeys,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Prerequisite {
    pub concept: String,
    pub label: String,
    pub check_question: String,
    pub citations: CitationKeys,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KeyPoint {
    pub text: String,
    pub citations: CitationKeys,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Difficulty {
    pub text: String,
    pub remedy: String,
    pub citations: CitationKeys,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MisconceptionItem {
    pub text: String,
    pub response: String,
    pub citations: CitationKeys,
}

/// One step of the procedure (教学环节).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    pub title: String,
    pub minutes: u16,
    pub teacher: String,
    pub students: String,
    pub purpose: String,
    pub citations: CitationKeys,
    /// Absent when a person wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<TextSource>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Homework {
    pub basic: Vec<ExerciseItem>,
    pub standard: Vec<ExerciseItem>,
    pub challenge: Vec<ExerciseItem>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExerciseItem {
    pub prompt: String,
    pub answer: String,
    /// Whether `answer` was recomputed by `crate::algebra` from a formal statement of the exercise.
    pub verified: bool,
    pub concept: String,
    pub citations: CitationKeys,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AssessmentCriterion {
    pub criterion: String,
    /// Descriptions from the lowest level to the highest.
    pub levels: Vec<String>,
    pub citations: CitationKeys,
    /// Absent when a person wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<TextSource>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Coverage {
    /// Share of the plan's items (objectives, points, steps, exercises, …) with at least one citation that resolves.
    pub cited_fraction: f64,
    /// Ids of the curriculum standards that the plan covers.
    pub standards: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GeneratedBy {
    pub model: String,
    pub prompt_version: String,
    /// The visible mark that AI content carries.
    pub label: String,
}
