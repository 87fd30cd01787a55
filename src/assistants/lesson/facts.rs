//! What a plan may rest on: the concepts of the lesson, the passages found for it, and the book of citations.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::{Citation, CitationKind};
use crate::graph::{Concept, Exercise, Misconception, PrerequisiteNote, Standard};
use crate::retrieval::Hit;

/// The facts of one lesson.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The concepts taught, the main one first; never empty.
    pub concepts: Vec<Arc<Concept>>,
    /// Exercises that assess the concepts, then those of their prerequisites (for revision).
    pub exercises: Vec<Arc<Exercise>>,
    pub revision_exercises: Vec<Arc<Exercise>>,
    /// Passages of the curriculum index that speak of the topic.
    pub passages: Vec<Hit>,
}

impl Facts {
    pub fn main(&self) -> &Concept {
        &self.concepts[0]
    }

    /// At most `limit` items, taken in turn from each concept so that the second one is not crowded out.
    pub fn in_turn<T>(&self, limit: usize, items: impl Fn(&Concept) -> Vec<T>) -> Vec<(&Concept, T)> {
        let mut queues: Vec<_> =
            self.concepts.iter().map(|concept| (concept.as_ref(), items(concept).into_iter())).collect();
        let mut taken = Vec::new();
        loop {
            let before = taken.len();
            for (concept, queue) in &mut queues {
                if taken.len() == limit {
                    return taken;
                }
                taken.extend(queue.next().map(|item| (*concept, item)));
            }
            if taken.len() == before {
                return taken;
            }
        }
    }
}

/// A text that the model may use, with the citation that stands for it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Source {
    pub key: String,
    pub text: String,
}

/// Hands out citation keys `c1`, `c2`, …; the same source gets the same key.
#[derive(Clone, Debug, Default)]
pub struct CitationBook {
    entries: BTreeMap<u32, Citation>,
}

impl CitationBook {
    /// Goes on from a stored plan's citations.
    pub fn of(citations: &BTreeMap<String, Citation>) -> Self {
        let number = |key: &String| key.strip_prefix('c')?.parse().ok();
        Self {
            entries: citations.iter().filter_map(|(key, citation)| Some((number(key)?, citation.clone()))).collect(),
        }
    }

    /// The key of `citation`, and whether it is new.
    pub fn cite(&mut self, citation: Citation) -> (String, bool) {
        if let Some((number, _)) = self.entries.iter().find(|(_, known)| **known == citation) {
            return (format!("c{number}"), false);
        }
        let number = self.entries.last_key_value().map_or(1, |(number, _)| number + 1);
        self.entries.insert(number, citation);
        (format!("c{number}"), true)
    }

    pub fn to_map(&self) -> BTreeMap<String, Citation> {
        self.entries.iter().map(|(number, citation)| (format!("c{number}"), citation.clone())).collect()
    }
}

/// A citation of what the graph says of a concept.
pub fn of_concept(concept: &Concept, quote: &str) -> Citation {
    Citation {
        kind: CitationKind::Concept,
        reference: concept.id.clone(),
        title: concept.label.clone(),
        quote: quote.to_owned(),
        locator: None,
    }
}

/// The prerequisite relation belongs to the concept that requires; the reason is its quote.
pub fn of_prerequisite(concept: &Concept, note: &PrerequisiteNote) -> Citation {
    Citation {
        kind: CitationKind::Concept,
        reference: note.id.clone(),
        title: format!("{}（{}的先备知识）", note.label, concept.label),
        quote: note.reason.clone(),
        locator: None,
    }
}

pub fn of_misconception(concept: &Concept, misconception: &Misconception) -> Citation {
    Citation {
        kind: CitationKind::Concept,
        reference: concept.id.clone(),
        title: format!("{}：易错点", concept.label),
        quote: format!("{} {}", misconception.text, misconception.sample),
        locator: None,
    }
}

pub fn of_standard(standard: &Standard) -> Citation {
    Citation {
        kind: CitationKind::Standard,
        reference: standard.id.clone(),
        title: standard.code.clone(),
        quote: standard.text.clone(),
        locator: None,
    }
}

pub fn of_exercise(exercise: &Exercise) -> Citation {
    Citation {
        kind: CitationKind::Exercise,
        reference: exercise.id.clone(),
        title: exercise.id.clone(),
        quote: exercise.prompt.clone(),
        locator: None,
    }
}

pub fn of_passage(hit: &Hit) -> Citation {
    Citation {
        kind: CitationKind::Document,
        reference: hit.id.to_string(),
        title: hit.title.clone(),
        quote: hit.text.clone(),
        locator: hit.locator.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn citation(quote: &str) -> Citation {
        Citation {
            kind: CitationKind::Concept,
            reference: "math:equation".to_owned(),
            title: "方程".to_owned(),
            quote: quote.to_owned(),
            locator: None,
        }
    }

    #[test]
    fn the_same_source_keeps_its_key_and_new_ones_go_on_after_the_last() {
        let mut book = CitationBook::default();
        assert_eq!(book.cite(citation("甲")), ("c1".to_owned(), true));
        assert_eq!(book.cite(citation("乙")), ("c2".to_owned(), true));
        assert_eq!(book.cite(citation("甲")), ("c1".to_owned(), false));
        let mut reopened = CitationBook::of(&book.to_map());
        assert_eq!(reopened.cite(citation("乙")), ("c2".to_owned(), false));
        assert_eq!(reopened.cite(citation("丙")), ("c3".to_owned(), true));
        assert_eq!(reopened.to_map()["c3"].quote, "丙");
    }
}
