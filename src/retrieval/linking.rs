//! How the index sees the knowledge graph: texts to concepts, concepts to their neighbours, concepts as passages.

use std::sync::Arc;

use super::ingest::ConceptText;
use crate::domain::{Grade, Subject};
use crate::graph::{Concept, KnowledgeGraph, LinkContext, LinkedConcept, Linker};

/// What retrieval needs of the knowledge graph.
pub trait ConceptLinker: Send + Sync {
    /// The concepts that a text speaks of, best first, at most `limit`.
    fn link(&self, text: &str, subject: Option<Subject>, grade: Option<Grade>, limit: usize) -> Vec<LinkedConcept>;

    /// Ids of the concepts next to this one: prerequisites, what it leads to, related ones.
    fn neighbours(&self, id: &str) -> Vec<String>;
}

/// The graph of this process.
#[derive(Clone)]
pub struct GraphConcepts {
    pub graph: Arc<KnowledgeGraph>,
    pub linker: Arc<Linker>,
}

impl ConceptLinker for GraphConcepts {
    fn link(&self, text: &str, subject: Option<Subject>, grade: Option<Grade>, limit: usize) -> Vec<LinkedConcept> {
        let mut linked = self.linker.link(text, LinkContext { subject, grade });
        linked.truncate(limit);
        linked
    }

    fn neighbours(&self, id: &str) -> Vec<String> {
        let neighbourhood = self.graph.neighbourhood(id, 1);
        let nodes = neighbourhood.into_iter().flat_map(|neighbourhood| neighbourhood.nodes);
        nodes.map(|node| node.id).filter(|neighbour| neighbour != id).collect()
    }
}

impl GraphConcepts {
    /// Every concept as the index stores it.
    pub fn texts(&self) -> impl Iterator<Item = ConceptText> {
        self.graph.concepts().iter().map(|concept| text_of(concept))
    }

    /// Labels and synonyms: the words that segmentation must not cut.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.graph.concepts().iter().flat_map(|concept| {
            std::iter::once(concept.label.as_str()).chain(concept.synonyms.iter().map(String::as_str))
        })
    }
}

/// Definition, points, errors and examples of a concept, as Markdown.
fn text_of(concept: &Concept) -> ConceptText {
    let mut text = format!("{}\n", concept.definition);
    if !concept.synonyms.is_empty() {
        text.push_str(&format!("\n又叫：{}。\n", concept.synonyms.join("、")));
    }
    text.push_str("\n## 要点\n\n");
    for point in &concept.key_points {
        text.push_str(&format!("- {point}\n"));
    }
    text.push_str("\n## 难点与易错\n\n");
    for difficulty in &concept.difficulties {
        text.push_str(&format!("- {} {}\n", difficulty.text, difficulty.remedy));
    }
    for misconception in &concept.misconceptions {
        text.push_str(&format!("- {} {} {}\n", misconception.text, misconception.sample, misconception.response));
    }
    text.push_str("\n## 例题\n\n");
    for example in &concept.examples {
        text.push_str(&format!("- {} {} {}\n", example.prompt, example.solution.join(" "), example.answer));
    }
    ConceptText {
        id: concept.id.clone(),
        title: concept.label.clone(),
        text,
        subject: concept.subject,
        grade: concept.grade,
    }
}
