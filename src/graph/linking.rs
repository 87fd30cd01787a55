//! From what people write to the concepts that they mean.

use std::collections::{BTreeSet, HashMap};

use jieba_rs::Jieba;

use super::text::{features, is_han, normalise, stem, without_fillers};
use super::{KnowledgeGraph, LinkedConcept};
use crate::domain::{Grade, Subject};

/// Only the beginning of a longer text is looked at, in characters.
const MAX_TEXT: usize = 2_000;
/// Most concepts linked to one text.
const MAX_LINKS: usize = 12;
/// Similarity from which a name that does not occur literally counts as meant.
const NEAR: f64 = 0.62;
/// A near miss counts for less than a literal occurrence.
const NEAR_WEIGHT: f64 = 0.85;
/// A synonym counts for less than a label.
const SYNONYM_WEIGHT: f64 = 0.95;
/// Shorter names are only linked where they occur literally: two characters are found in too many other words.
const NEAR_FEATURES: usize = 3;
/// What [`Linker::nearest`] offers is a guess, and scores like one.
const GUESS_WEIGHT: f64 = 0.5;

/// What is known about who asks. It changes the order of the concepts found and never adds one.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkContext {
    pub subject: Option<Subject>,
    pub grade: Option<Grade>,
}

/// Finds the concepts of a graph in texts, by their labels and synonyms.
///
/// A name counts where it stands as words of its own (so not 实数 in 其实数学); of overlapping names the longest counts.
/// Texts that name no concept literally are compared by pairs of characters, for slips and variants.
pub struct Linker {
    names: Vec<Name>,
    /// Normalised spelling to indices of `names`.
    spellings: HashMap<String, Vec<usize>>,
    /// Of spellings, in characters.
    longest: usize,
    concepts: Vec<Described>,
    words: Jieba,
}

struct Name {
    concept: usize,
    spelling: String,
    features: BTreeSet<String>,
    weight: f64,
}

struct Described {
    id: String,
    label: String,
    subject: Subject,
    grade: Grade,
}

impl Linker {
    /// Takes some 0.3 s for the dictionary of the word segmentation: make one and share it.
    pub fn new(graph: &KnowledgeGraph) -> Self {
        let mut linker = Self {
            names: Vec::new(),
            spellings: HashMap::new(),
            longest: 0,
            concepts: Vec::new(),
            words: Jieba::new(),
        };
        for (at, concept) in graph.concepts().iter().enumerate() {
            linker.concepts.push(Described {
                id: concept.id.clone(),
                label: concept.label.clone(),
                subject: concept.subject,
                grade: concept.grade,
            });
            linker.add_name(at, &concept.label, 1.0);
            linker.add_name(at, &concept.label_en, 1.0);
            for synonym in &concept.synonyms {
                linker.add_name(at, synonym, SYNONYM_WEIGHT);
            }
        }
        linker
    }

    fn add_name(&mut self, concept: usize, name: &str, weight: f64) {
        let spelling: String = units(&normalise(name)).into_iter().map(|(_, _, word)| word).collect();
        // One character is part of too many words to say anything.
        if spelling.chars().count() < 2 {
            return;
        }
        if spelling.chars().all(is_han) && !self.words.has_word(&spelling) {
            self.words.add_word(&spelling, None, None);
        }
        self.longest = self.longest.max(spelling.chars().count());
        self.spellings.entry(spelling.clone()).or_default().push(self.names.len());
        self.names.push(Name { concept, features: features(&spelling), spelling, weight });
    }

    /// The concepts that a text names, best first; none when it names none.
    pub fn link(&self, text: &str, context: LinkContext) -> Vec<LinkedConcept> {
        let normal = self.prepare(text);
        let content = without_fillers(&normal);
        let size = content.chars().filter(|c| c.is_alphanumeric()).count().max(1);
        let mut scores: HashMap<usize, f64> = HashMap::new();
        let mut raise = |concept: usize, score: f64| {
            let entry = scores.entry(concept).or_insert(0.0);
            *entry = entry.max(score.min(1.0));
        };
        let found = self.occurrences(&normal);
        for (start, end, names) in &found {
            // How much of what was said this name explains.
            let coverage = ((end - start) as f64 / size as f64).min(1.0);
            for name in names.iter().map(|index| &self.names[*index]) {
                raise(name.concept, name.weight * (0.8 + 0.2 * coverage));
            }
        }
        self.link_actions(&normal, &found, &mut raise);
        let content = features(&content);
        let literal = found.iter().flat_map(|(_, _, names)| names.iter()).map(|index| &self.names[*index].features);
        let explained: BTreeSet<&String> = literal.flatten().collect();
        for name in self.names.iter().filter(|name| name.features.len() >= NEAR_FEATURES) {
            let similarity = similarity(&name.features, &content);
            // A name that shares nothing with the text but what a literal occurrence explains is not meant.
            let more = name.features.intersection(&content).any(|feature| !explained.contains(feature));
            if similarity >= NEAR && more {
                raise(name.concept, name.weight * NEAR_WEIGHT * similarity);
            }
        }
        self.ranked(scores, context, MAX_LINKS)
    }

    /// The `count` concepts whose names look most like the text, however little: for "did you mean". Scores are at most 0.5.
    pub fn nearest(&self, text: &str, count: usize) -> Vec<LinkedConcept> {
        let normal = self.prepare(text);
        let content = features(&without_fillers(&normal));
        let chars: BTreeSet<String> = normal.chars().filter(|c| is_han(*c)).map(String::from).collect();
        let mut scores: HashMap<usize, f64> = HashMap::new();
        for name in &self.names {
            let own: BTreeSet<String> = name.spelling.chars().filter(|c| is_han(*c)).map(String::from).collect();
            let score = 0.7 * similarity(&name.features, &content) + 0.3 * similarity(&own, &chars);
            let entry = scores.entry(name.concept).or_insert(0.0);
            *entry = entry.max(GUESS_WEIGHT * name.weight * score);
        }
        self.ranked(scores, LinkContext::default(), count)
    }

    fn prepare(&self, text: &str) -> String {
        let text: String = text.chars().take(MAX_TEXT).collect();
        normalise(&text)
    }

    /// Where names occur: from, to (in characters) and the names spelled so. Longest first from the left, not overlapping.
    fn occurrences(&self, normal: &str) -> Vec<(usize, usize, &[usize])> {
        let units = units(normal);
        let borders = self.borders(normal);
        let mut found = Vec::new();
        let mut at = 0;
        while at < units.len() {
            let start = units[at].0;
            let mut best = None;
            let mut spelling = String::new();
            for (index, (from, to, word)) in units.iter().enumerate().skip(at) {
                if from - start >= self.longest {
                    break;
                }
                spelling.push_str(word);
                if let Some(names) = self.spellings.get(&spelling)
                    && borders.contains(&start)
                    && borders.contains(to)
                {
                    best = Some((index + 1, *to, names));
                }
            }
            match best {
                Some((next, end, names)) => {
                    found.push((start, end, names.as_slice()));
                    at = next;
                }
                None => at += 1,
            }
        }
        found
    }

    /// The positions between words, in characters.
    fn borders(&self, normal: &str) -> BTreeSet<usize> {
        let mut borders = BTreeSet::from([0]);
        let mut position = 0;
        for token in self.words.cut(normal, false) {
            position += token.word.chars().count();
            borders.insert(position);
        }
        borders
    }

    /// 一元一次方程怎么解 names an object and what is done with it: 解一元一次方程 is meant too.
    fn link_actions(&self, normal: &str, found: &[(usize, usize, &[usize])], raise: &mut impl FnMut(usize, f64)) {
        for (_, _, names) in found {
            let Some(object) = names.first().map(|index| &self.names[*index].spelling) else { continue };
            for action in ["解", "求"] {
                if !normal.replace(object.as_str(), "").contains(action) {
                    continue;
                }
                for index in self.spellings.get(&format!("{action}{object}")).into_iter().flatten() {
                    let name = &self.names[*index];
                    raise(name.concept, 0.9 * name.weight);
                }
            }
        }
    }

    fn ranked(&self, scores: HashMap<usize, f64>, context: LinkContext, limit: usize) -> Vec<LinkedConcept> {
        let mut ranked: Vec<(usize, f64)> =
            scores.into_iter().map(|(at, score)| (at, score * self.fit(at, context))).collect();
        ranked.sort_by(|(a, left), (b, right)| right.total_cmp(left).then(a.cmp(b)));
        ranked
            .into_iter()
            .take(limit)
            .map(|(at, score)| {
                let concept = &self.concepts[at];
                // Three decimals say all that there is to say.
                let score = (score * 1_000.0).round() / 1_000.0;
                LinkedConcept { id: concept.id.clone(), label: concept.label.clone(), score }
            })
            .collect()
    }

    /// How well a concept fits the context, up to 1: each grade of distance costs a little, what is still to come a bit
    /// more, another subject half.
    fn fit(&self, at: usize, context: LinkContext) -> f64 {
        let concept = &self.concepts[at];
        let subject = if context.subject.is_none_or(|subject| subject == concept.subject) { 1.0 } else { 0.5 };
        let grade = context.grade.map_or(1.0, |grade| {
            let distance = f64::from(concept.grade.number().abs_diff(grade.number()));
            let ahead = if concept.grade > grade { 0.02 } else { 0.0 };
            (1.0 - 0.03 * distance - ahead).max(0.7)
        });
        subject * grade
    }
}

/// Chinese characters one by one, English words (without plural s, so that spellings agree) and numbers as wholes; each
/// with the characters from and to which it goes.
fn units(normal: &str) -> Vec<(usize, usize, String)> {
    let chars: Vec<char> = normal.chars().collect();
    let mut position = 0;
    chars
        .chunk_by(|a, b| a.is_alphanumeric() && b.is_alphanumeric() && !is_han(*a) && !is_han(*b))
        .map(|unit| {
            let start = position;
            position += unit.len();
            let word: String = unit.iter().collect();
            (start, position, stem(&word).to_owned())
        })
        .collect()
}

/// How much of each is in the other, 0 to 1; what the name has counts more than what the text has besides.
fn similarity(name: &BTreeSet<String>, text: &BTreeSet<String>) -> f64 {
    let common = name.intersection(text).count() as f64;
    if common == 0.0 {
        return 0.0;
    }
    0.7 * common / name.len() as f64 + 0.3 * common / text.len() as f64
}

#[cfg(test)]
#[path = "linking_tests.rs"]
mod tests;
