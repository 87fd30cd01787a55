//! The typed view of what the Turtle files say (`knowledge_graph/vocabulary.ttl`).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{Grade, Subject};

/// A knowledge point (知识点).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Concept {
    /// `math:linear-equation-one-unknown`
    pub id: String,
    pub label: String,
    pub label_en: String,
    pub synonyms: Vec<String>,
    pub subject: Subject,
    pub grade: Grade,
    /// 1 to 5, within the grade.
    pub difficulty: u8,
    /// The teaching unit's id and label.
    pub unit: NamedRef,
    pub definition: String,
    pub key_points: Vec<String>,
    pub examples: Vec<WorkedExample>,
    pub difficulties: Vec<TeachingDifficulty>,
    /// Everyday situations that introduce the concept.
    pub contexts: Vec<String>,
    pub prerequisites: Vec<PrerequisiteNote>,
    /// Ids of related concepts, in both directions.
    pub related: Vec<NamedRef>,
    pub misconceptions: Vec<Misconception>,
    pub competencies: Vec<NamedRef>,
    pub standards: Vec<Standard>,
    /// Ids of the exercises that assess it; [`super::KnowledgeGraph::exercise`] has them.
    pub exercises: Vec<String>,
}

/// An id with its Chinese label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NamedRef {
    pub id: String,
    pub label: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkedExample {
    pub prompt: String,
    pub solution: Vec<String>,
    pub answer: String,
    /// Statements of [`crate::algebra`] that recompute the answer.
    pub checks: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TeachingDifficulty {
    pub text: String,
    pub remedy: String,
}

/// A prerequisite and why it is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PrerequisiteNote {
    pub id: String,
    pub label: String,
    pub reason: String,
    pub check_question: String,
    pub check_answer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Misconception {
    pub id: String,
    pub text: String,
    pub sample: String,
    pub response: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Standard {
    pub id: String,
    pub code: String,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExerciseLevel {
    Basic,
    Standard,
    Challenge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExerciseKind {
    Calculation,
    Fill,
    Choice,
    Word,
    Proof,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Exercise {
    pub id: String,
    /// The concept that it assesses.
    pub concept: String,
    pub level: ExerciseLevel,
    pub kind: ExerciseKind,
    pub difficulty: u8,
    pub prompt: String,
    pub solution: Vec<String>,
    pub answer: String,
    /// Statements of [`crate::algebra`] that recompute the answer; empty where none is meaningful.
    pub checks: Vec<String>,
}

/// A concept found in a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LinkedConcept {
    pub id: String,
    pub label: String,
    /// 0 to 1.
    pub score: f64,
}

/// A subject that has concepts in the graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubjectSummary {
    pub id: Subject,
    pub label: String,
    pub concepts: usize,
    pub exercises: usize,
    /// In teaching order.
    pub units: Vec<UnitSummary>,
}

/// A teaching unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnitSummary {
    pub id: String,
    pub label: String,
    pub label_en: String,
    pub grade: Grade,
    pub concepts: usize,
}
