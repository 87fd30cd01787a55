//! From triples to the typed view.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use oxigraph::model::{NamedOrBlankNode, Quad, Term};

use super::{
    Concept, Exercise, ExerciseKind, ExerciseLevel, Misconception, NamedRef, PrerequisiteNote, Problem, Standard,
    SubjectSummary, TeachingDifficulty, UnitSummary, WorkedExample,
};
use crate::domain::{Grade, Subject};

const SKOS: &str = "http://www.w3.org/2004/02/skos/core#";
const RDF: &str = "http://www.w3.org/1999/02/22-rdf-syntax-ns#";
/// Longest RDF list that is followed: a list that runs in a circle must not hang the reader.
const MAX_LIST: usize = 200;

#[derive(Default)]
pub(super) struct Snapshot {
    /// In teaching order.
    pub concepts: Vec<Arc<Concept>>,
    pub positions: HashMap<String, usize>,
    pub exercises: BTreeMap<String, Arc<Exercise>>,
    pub standards: BTreeMap<String, Standard>,
    pub subjects: Vec<SubjectSummary>,
    pub problems: Vec<Problem>,
}

/// Subjects and predicates as ids (IRIs without base), blank nodes as `_:name`.
struct Triples {
    by_subject: HashMap<String, HashMap<String, Vec<Value>>>,
}

#[derive(Clone)]
enum Value {
    Id(String),
    Text { text: String, language: Option<String> },
}

struct Unit {
    summary: UnitSummary,
    order: i64,
}

impl Snapshot {
    /// `order` gives the position of a statement among all files, for the teaching order inside a unit.
    pub fn build(quads: Vec<Quad>, base: &str, order: &dyn Fn(&str) -> (String, u64)) -> Self {
        let triples = Triples::index(quads, base);
        let mut snapshot = Self::default();
        let units = snapshot.units(&triples);
        for id in triples.of_type("vocab:Standard") {
            let standard = Standard {
                code: triples.text(&id, "vocab:code"),
                text: triples.text(&id, "vocab:text"),
                id: id.clone(),
            };
            snapshot.standards.insert(id, standard);
        }
        for id in triples.of_type("vocab:Exercise") {
            match triples.exercise(&id) {
                Ok(exercise) => {
                    snapshot.exercises.insert(id, Arc::new(exercise));
                }
                Err(message) => snapshot.problems.push(Problem { id, message }),
            }
        }
        let mut concepts = Vec::new();
        for id in triples.of_type("vocab:Concept") {
            match snapshot.concept(&triples, &units, &id) {
                Ok(concept) => concepts.push(concept),
                Err(message) => snapshot.problems.push(Problem { id, message }),
            }
        }
        concepts.sort_by_cached_key(|concept| {
            let unit = units.get(&concept.unit.id).map_or(0, |unit| unit.order);
            (concept.subject, unit, order(&concept.id), concept.id.clone())
        });
        snapshot.positions = concepts.iter().enumerate().map(|(at, concept)| (concept.id.clone(), at)).collect();
        link(&mut concepts, &snapshot);
        snapshot.subjects = subjects(&concepts, units);
        snapshot.concepts = concepts.into_iter().map(Arc::new).collect();
        snapshot
    }

    fn units(&mut self, triples: &Triples) -> HashMap<String, Unit> {
        let mut units = HashMap::new();
        for id in triples.of_type("vocab:Unit") {
            let Some(grade) = triples.grade(&id) else {
                self.problems.push(Problem { id, message: "the unit has no grade from 1 to 12".to_owned() });
                continue;
            };
            let summary = UnitSummary {
                label: triples.label(&id, "zh"),
                label_en: triples.label(&id, "en"),
                grade,
                concepts: 0,
                id: id.clone(),
            };
            let order = triples.text(&id, "vocab:order").parse().unwrap_or(i64::MAX);
            units.insert(id, Unit { summary, order });
        }
        units
    }

    fn concept(&self, triples: &Triples, units: &HashMap<String, Unit>, id: &str) -> Result<Concept, String> {
        let label = triples.label(id, "zh");
        if label.is_empty() {
            return Err("the concept has no Chinese label".to_owned());
        }
        let subject = triples.ids(id, "vocab:subject").next().unwrap_or_default();
        let subject: Subject = subject
            .strip_prefix("subject:")
            .and_then(|name| name.parse().ok())
            .ok_or_else(|| format!("`{subject}` is no subject"))?;
        let grade = triples.grade(id).ok_or("the concept has no grade from 1 to 12")?;
        let unit = triples.ids(id, "vocab:unit").next().unwrap_or_default();
        let unit = units.get(&unit).ok_or_else(|| format!("`{unit}` is no unit"))?;
        let refs = |property: &str| -> Vec<NamedRef> {
            triples.ids(id, property).map(|id| NamedRef { label: triples.label(&id, "zh"), id }).collect()
        };
        Ok(Concept {
            id: id.to_owned(),
            label,
            label_en: triples.label(id, "en"),
            synonyms: triples.texts(id, "skos:altLabel"),
            subject,
            grade,
            difficulty: triples.difficulty(id)?,
            unit: NamedRef { id: unit.summary.id.clone(), label: unit.summary.label.clone() },
            definition: triples.text(id, "skos:definition"),
            key_points: triples.list(id, "vocab:keyPoints"),
            examples: triples.list(id, "vocab:examples").iter().map(|node| triples.example(node)).collect(),
            difficulties: triples
                .list(id, "vocab:teachingDifficulties")
                .iter()
                .map(|node| TeachingDifficulty {
                    text: triples.text(node, "vocab:text"),
                    remedy: triples.text(node, "vocab:remedy"),
                })
                .collect(),
            contexts: triples.list(id, "vocab:contexts"),
            prerequisites: triples.prerequisites(id),
            related: refs("vocab:relatedTo"),
            misconceptions: triples
                .ids(id, "vocab:hasMisconception")
                .map(|id| Misconception {
                    text: triples.text(&id, "vocab:text"),
                    sample: triples.text(&id, "vocab:sample"),
                    response: triples.text(&id, "vocab:response"),
                    id,
                })
                .collect(),
            competencies: refs("vocab:develops"),
            standards: triples
                .ids(id, "vocab:alignedTo")
                .filter_map(|standard| self.standards.get(&standard).cloned())
                .collect(),
            exercises: Vec::new(),
        })
    }
}

/// Adds what concepts owe to others: the reverse of `relatedTo`, and exercises, easier ones first.
fn link(concepts: &mut [Concept], snapshot: &Snapshot) {
    let mut reverse: Vec<(usize, NamedRef)> = Vec::new();
    for concept in concepts.iter() {
        for other in &concept.related {
            if let Some(at) = snapshot.positions.get(&other.id) {
                reverse.push((*at, NamedRef { id: concept.id.clone(), label: concept.label.clone() }));
            }
        }
    }
    for (at, from) in reverse {
        let related = &mut concepts[at].related;
        if !related.contains(&from) {
            related.push(from);
        }
    }
    for concept in concepts.iter_mut() {
        concept.related.sort_by_cached_key(|other| snapshot.positions.get(&other.id).copied());
        concept.prerequisites.sort_by_cached_key(|other| snapshot.positions.get(&other.id).copied());
    }
    let mut exercises: Vec<&Arc<Exercise>> = snapshot.exercises.values().collect();
    exercises.sort_by_key(|exercise| (exercise.level, exercise.difficulty, &exercise.id));
    for exercise in exercises {
        if let Some(at) = snapshot.positions.get(&exercise.concept) {
            concepts[*at].exercises.push(exercise.id.clone());
        }
    }
}

fn subjects(concepts: &[Concept], units: HashMap<String, Unit>) -> Vec<SubjectSummary> {
    let mut units = units;
    let mut summaries: BTreeMap<Subject, (SubjectSummary, Vec<String>)> = BTreeMap::new();
    for concept in concepts {
        let (summary, seen) = summaries.entry(concept.subject).or_insert_with(|| {
            let label = concept.subject.label_zh().to_owned();
            (SubjectSummary { id: concept.subject, label, concepts: 0, exercises: 0, units: Vec::new() }, Vec::new())
        });
        summary.concepts += 1;
        summary.exercises += concept.exercises.len();
        if let Some(unit) = units.get_mut(&concept.unit.id) {
            unit.summary.concepts += 1;
            if !seen.contains(&concept.unit.id) {
                // Concepts come in teaching order, so units do.
                seen.push(concept.unit.id.clone());
            }
        }
    }
    summaries
        .into_values()
        .map(|(mut summary, seen)| {
            summary.units = seen.iter().filter_map(|id| units.remove(id)).map(|unit| unit.summary).collect();
            summary
        })
        .collect()
}

impl Triples {
    fn index(quads: Vec<Quad>, base: &str) -> Self {
        let short = |iri: &str| -> String {
            if let Some(id) = iri.strip_prefix(base) {
                id.to_owned()
            } else if let Some(name) = iri.strip_prefix(SKOS) {
                format!("skos:{name}")
            } else if let Some(name) = iri.strip_prefix(RDF) {
                format!("rdf:{name}")
            } else {
                iri.to_owned()
            }
        };
        let mut by_subject: HashMap<String, HashMap<String, Vec<Value>>> = HashMap::new();
        for quad in quads {
            let subject = match &quad.subject {
                NamedOrBlankNode::NamedNode(node) => short(node.as_str()),
                NamedOrBlankNode::BlankNode(node) => node.to_string(),
            };
            let value = match quad.object {
                Term::NamedNode(node) => Value::Id(short(node.as_str())),
                Term::BlankNode(node) => Value::Id(node.to_string()),
                Term::Literal(literal) => {
                    Value::Text { language: literal.language().map(str::to_owned), text: literal.value().to_owned() }
                }
            };
            by_subject.entry(subject).or_default().entry(short(quad.predicate.as_str())).or_default().push(value);
        }
        // The store has no order of its own; readers get the same one every time.
        for values in by_subject.values_mut().flat_map(HashMap::values_mut) {
            values.sort_by(|a, b| a.key().cmp(b.key()));
        }
        Self { by_subject }
    }

    fn values(&self, subject: &str, property: &str) -> &[Value] {
        self.by_subject.get(subject).and_then(|properties| properties.get(property)).map_or(&[], Vec::as_slice)
    }

    fn of_type(&self, class: &str) -> Vec<String> {
        let is = |value: &Value| matches!(value, Value::Id(id) if id == class);
        let mut found: Vec<String> = self
            .by_subject
            .iter()
            .filter(|(_, properties)| properties.get("rdf:type").is_some_and(|types| types.iter().any(is)))
            .map(|(subject, _)| subject.clone())
            .collect();
        found.sort();
        found
    }

    fn ids<'a>(&'a self, subject: &str, property: &str) -> impl Iterator<Item = String> + use<'a> {
        self.values(subject, property).iter().filter_map(|value| match value {
            Value::Id(id) => Some(id.clone()),
            Value::Text { .. } => None,
        })
    }

    fn texts(&self, subject: &str, property: &str) -> Vec<String> {
        self.values(subject, property)
            .iter()
            .filter_map(|value| match value {
                Value::Text { text, .. } => Some(text.clone()),
                Value::Id(_) => None,
            })
            .collect()
    }

    /// The first text, or an empty one.
    fn text(&self, subject: &str, property: &str) -> String {
        self.texts(subject, property).into_iter().next().unwrap_or_default()
    }

    fn label(&self, subject: &str, wanted: &str) -> String {
        self.values(subject, "skos:prefLabel")
            .iter()
            .find_map(|value| match value {
                Value::Text { text, language: Some(language) } if language == wanted => Some(text.clone()),
                _ => None,
            })
            .unwrap_or_default()
    }

    fn grade(&self, subject: &str) -> Option<Grade> {
        Grade::new(self.text(subject, "vocab:grade").parse().ok()?).ok()
    }

    fn difficulty(&self, subject: &str) -> Result<u8, String> {
        match self.text(subject, "vocab:difficulty").as_str() {
            "" => Ok(1),
            text => text
                .parse()
                .ok()
                .filter(|level| (1..=5).contains(level))
                .ok_or_else(|| format!("difficulty `{text}` is not from 1 to 5")),
        }
    }

    /// The items of an RDF list: texts as they are, nodes by their ids.
    fn list(&self, subject: &str, property: &str) -> Vec<String> {
        let mut items = Vec::new();
        let mut seen = HashSet::new();
        let mut next = self.ids(subject, property).next();
        while let Some(node) = next {
            if node == "rdf:nil" || items.len() == MAX_LIST || !seen.insert(node.clone()) {
                break;
            }
            items.extend(self.values(&node, "rdf:first").first().map(|value| value.key().to_owned()));
            next = self.ids(&node, "rdf:rest").next();
        }
        items
    }

    fn example(&self, node: &str) -> WorkedExample {
        WorkedExample {
            prompt: self.text(node, "vocab:prompt"),
            solution: self.list(node, "vocab:solution"),
            answer: self.text(node, "vocab:answer"),
            checks: self.texts(node, "vocab:check"),
        }
    }

    /// Every `zj:requires`, with its note where there is one.
    fn prerequisites(&self, id: &str) -> Vec<PrerequisiteNote> {
        let notes = self.list(id, "vocab:prerequisiteNotes");
        self.ids(id, "vocab:requires")
            .map(|other| {
                let note = notes.iter().find(|note| self.ids(note, "vocab:concept").any(|about| about == other));
                let text = |property| note.map(|note| self.text(note, property)).unwrap_or_default();
                PrerequisiteNote {
                    label: self.label(&other, "zh"),
                    reason: text("vocab:reason"),
                    check_question: text("vocab:checkQuestion"),
                    check_answer: text("vocab:checkAnswer"),
                    id: other,
                }
            })
            .collect()
    }

    fn exercise(&self, id: &str) -> Result<Exercise, String> {
        let level = self.text(id, "vocab:level");
        let kind = self.text(id, "vocab:kind");
        Ok(Exercise {
            id: id.to_owned(),
            concept: self.ids(id, "vocab:assesses").next().ok_or("the exercise assesses no concept")?,
            level: match level.as_str() {
                "basic" => ExerciseLevel::Basic,
                "standard" => ExerciseLevel::Standard,
                "challenge" => ExerciseLevel::Challenge,
                _ => return Err(format!("level `{level}` is none of basic, standard, challenge")),
            },
            kind: match kind.as_str() {
                "calculation" => ExerciseKind::Calculation,
                "fill" => ExerciseKind::Fill,
                "choice" => ExerciseKind::Choice,
                "word" => ExerciseKind::Word,
                "proof" => ExerciseKind::Proof,
                _ => return Err(format!("kind `{kind}` is none of calculation, fill, choice, word, proof")),
            },
            difficulty: self.difficulty(id)?,
            prompt: self.text(id, "vocab:prompt"),
            solution: self.list(id, "vocab:solution"),
            answer: self.text(id, "vocab:answer"),
            checks: self.texts(id, "vocab:check"),
        })
    }
}

impl Value {
    fn key(&self) -> &str {
        match self {
            Self::Id(id) => id,
            Self::Text { text, .. } => text,
        }
    }
}
