use std::sync::Arc;

use super::text::normalise;
use super::{Concept, KnowledgeGraph};
use crate::domain::{Grade, Subject};

impl KnowledgeGraph {
    /// Concepts whose labels, synonyms or definition hold the query, best first; with an empty query, all in teaching
    /// order. `subject` and `grade` leave out everything else.
    pub fn search(
        &self,
        query: &str,
        subject: Option<Subject>,
        grade: Option<Grade>,
        limit: usize,
    ) -> Vec<&Arc<Concept>> {
        let query = normalise(query);
        let mut found: Vec<(u32, usize, &Arc<Concept>)> = self
            .concepts()
            .iter()
            .enumerate()
            .filter(|(_, concept)| subject.is_none_or(|subject| subject == concept.subject))
            .filter(|(_, concept)| grade.is_none_or(|grade| grade == concept.grade))
            .filter_map(|(at, concept)| Some((rank(concept, &query)?, at, concept)))
            .collect();
        found.sort_by_key(|(rank, at, _)| (*rank, *at));
        found.into_iter().take(limit).map(|(_, _, concept)| concept).collect()
    }
}

/// Smaller is better; none without a match. Equal, then prefix, then substring; labels before synonyms.
fn rank(concept: &Concept, query: &str) -> Option<u32> {
    if query.is_empty() {
        return Some(0);
    }
    let of = |name: &str, class: u32| {
        let name = normalise(name);
        // Of two names with the same prefix, the one with less besides it is meant.
        let excess = u32::try_from(name.chars().count().saturating_sub(query.chars().count())).unwrap_or(50).min(50);
        if name == query {
            Some(class)
        } else if name.starts_with(query) {
            Some(1_000 + 100 * class + excess)
        } else if name.contains(query) {
            Some(2_000 + 100 * class + excess)
        } else {
            None
        }
    };
    let labels = [&concept.label, &concept.label_en].into_iter().filter_map(|name| of(name, 0));
    let synonyms = concept.synonyms.iter().filter_map(|name| of(name, 1));
    let definition = normalise(&concept.definition).contains(query).then_some(9_000);
    labels.chain(synonyms).chain(definition).min()
}
