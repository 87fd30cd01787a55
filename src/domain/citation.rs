use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a citation points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CitationKind {
    Concept,
    Standard,
    Document,
    Exercise,
}

/// A source that a statement rests on; `reference` resolves in the graph or the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Citation {
    pub kind: CitationKind,
    /// A graph id (`math:equation`, `standard:math-7-9-equations-1`) or a passage id.
    #[serde(rename = "ref")]
    pub reference: String,
    pub title: String,
    /// The words of the source that the statement rests on.
    pub quote: String,
    /// Where in a document: page, heading path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locator: Option<String>,
}
