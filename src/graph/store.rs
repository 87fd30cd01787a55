use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use oxigraph::io::{RdfFormat, RdfParser, RdfSyntaxError};
use oxigraph::model::{NamedNode, NamedOrBlankNode, Quad, Term};
use oxigraph::store::Store;
use rust_embed::RustEmbed;

use super::snapshot::Snapshot;
use super::{Concept, Exercise, GraphError, Standard, SubjectSummary};
use crate::domain::CitationKind;

/// The base of the IRIs in the shipped files.
pub const DEFAULT_BASE: &str = "urn:zhujiao:";

/// The files shipped in the binary.
#[derive(RustEmbed)]
#[folder = "knowledge_graph/"]
struct Shipped;

/// Where the Turtle files and the validation queries come from.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// What is shipped in the binary.
    Embedded,
    /// A folder laid out like `knowledge_graph/`; it replaces the shipped content.
    Directory(&'a Path),
}

/// A line of a Turtle file; lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    pub line: u64,
}

/// Something in the files that the snapshot had to leave out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub id: String,
    pub message: String,
}

/// What a citation of a concept, standard or exercise points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedSource {
    pub kind: CitationKind,
    pub id: String,
    pub title: String,
    pub text: String,
}

/// The subject knowledge graph. Cheap to share behind an `Arc`; never changes after loading.
pub struct KnowledgeGraph {
    store: Store,
    base: String,
    pub(super) snapshot: Snapshot,
    places: HashMap<String, Place>,
    pub(super) queries: Vec<(String, String)>,
}

impl KnowledgeGraph {
    /// Loads all Turtle files of `content`. IRIs that start with [`DEFAULT_BASE`] are moved to `base`.
    ///
    /// Things that lack what the snapshot needs are left out of it and listed in [`Self::problems`]; [`super::validate`]
    /// reports them.
    ///
    /// # Errors
    ///
    /// Files that cannot be read or parsed (with file and line), an invalid base, no Turtle file at all.
    pub fn load(content: Content<'_>, base: &str) -> Result<Self, GraphError> {
        if NamedNode::new(base).is_err() || !base.ends_with([':', '/', '#']) {
            return Err(GraphError::Base(base.to_owned()));
        }
        let store = Store::new()?;
        let mut loader = store.bulk_loader();
        let mut places = HashMap::new();
        let mut queries = Vec::new();
        let mut turtle_files = 0;
        for (file, text) in read(content)? {
            if file.ends_with(".rq") {
                queries.push((file, text.replace(DEFAULT_BASE, base)));
                continue;
            }
            turtle_files += 1;
            note_places(&file, &text, &mut places);
            loader.load_quads(parse(&file, &text, base)?)?;
        }
        // Without it nothing is stored.
        loader.commit()?;
        if turtle_files == 0 {
            return Err(GraphError::Empty(match content {
                Content::Embedded => "the shipped content".to_owned(),
                Content::Directory(path) => path.display().to_string(),
            }));
        }
        let quads = store.iter().collect::<Result<Vec<Quad>, _>>()?;
        let order = |id: &str| places.get(id).map_or((String::new(), 0), |place| (place.file.clone(), place.line));
        let snapshot = Snapshot::build(quads, base, &order);
        Ok(Self { store, base: base.to_owned(), snapshot, places, queries })
    }

    /// The RDF store, for SPARQL.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The base of all IRIs of this graph.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The id of an IRI: the IRI without the base; foreign IRIs stay as they are.
    pub fn id_of<'a>(&self, iri: &'a str) -> &'a str {
        iri.strip_prefix(&self.base).unwrap_or(iri)
    }

    /// All concepts in teaching order: by subject, unit and position in the unit's file.
    pub fn concepts(&self) -> &[Arc<Concept>] {
        &self.snapshot.concepts
    }

    pub fn concept(&self, id: &str) -> Option<&Arc<Concept>> {
        self.position(id).map(|at| &self.snapshot.concepts[at])
    }

    /// The concept's place in the teaching order.
    pub(super) fn position(&self, id: &str) -> Option<usize> {
        self.snapshot.positions.get(id).copied()
    }

    pub fn exercise(&self, id: &str) -> Option<&Arc<Exercise>> {
        self.snapshot.exercises.get(id)
    }

    /// The exercises that assess a concept, easier ones first; none for an unknown id.
    pub fn exercises_of(&self, concept: &str) -> Vec<&Arc<Exercise>> {
        self.concept(concept)
            .map_or_else(Vec::new, |concept| concept.exercises.iter().filter_map(|id| self.exercise(id)).collect())
    }

    /// Every exercise, in no particular order.
    pub fn exercises(&self) -> impl Iterator<Item = &Arc<Exercise>> {
        self.snapshot.exercises.values()
    }

    pub fn standard(&self, id: &str) -> Option<&Standard> {
        self.snapshot.standards.get(id)
    }

    /// The subjects that have concepts, with their units in teaching order.
    pub fn subjects(&self) -> &[SubjectSummary] {
        &self.snapshot.subjects
    }

    /// What the id of a citation points to.
    pub fn resolve(&self, reference: &str) -> Option<ResolvedSource> {
        let source = |kind, title: String, text: String| ResolvedSource { kind, id: reference.to_owned(), title, text };
        if let Some(concept) = self.concept(reference) {
            let mut text = concept.definition.clone();
            for point in &concept.key_points {
                text.push('\n');
                text.push_str(point);
            }
            return Some(source(CitationKind::Concept, concept.label.clone(), text));
        }
        if let Some(standard) = self.standard(reference) {
            return Some(source(CitationKind::Standard, standard.code.clone(), standard.text.clone()));
        }
        let exercise = self.exercise(reference)?;
        let concept = self.concept(&exercise.concept).map_or("", |concept| concept.label.as_str());
        let text = format!("{}\n答案：{}", exercise.prompt, exercise.answer);
        Some(source(CitationKind::Exercise, format!("习题·{concept}"), text))
    }

    /// What the snapshot had to leave out.
    pub fn problems(&self) -> &[Problem] {
        &self.snapshot.problems
    }

    /// Where a thing is stated.
    pub fn place(&self, id: &str) -> Option<&Place> {
        self.places.get(id)
    }
}

/// All Turtle files and validation queries as (path, text), in order of their paths.
fn read(content: Content<'_>) -> Result<Vec<(String, String)>, GraphError> {
    let wanted = |path: &str| path.ends_with(".ttl") || path.ends_with(".rq");
    let not_utf8 = |path: &str| GraphError::Read {
        path: path.to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8"),
    };
    let mut files = Vec::new();
    match content {
        Content::Embedded => {
            for path in Shipped::iter().filter(|path| wanted(path)) {
                let Some(file) = Shipped::get(&path) else { continue };
                let text = String::from_utf8(file.data.into_owned()).map_err(|_| not_utf8(&path))?;
                files.push((path.into_owned(), text));
            }
        }
        Content::Directory(directory) => {
            for entry in walkdir::WalkDir::new(directory) {
                let entry = entry.map_err(|error| GraphError::Read {
                    path: directory.display().to_string(),
                    source: error.into(),
                })?;
                let path = entry.path().display().to_string();
                if entry.file_type().is_file() && wanted(&path) {
                    let bytes = std::fs::read(entry.path())
                        .map_err(|source| GraphError::Read { path: path.clone(), source })?;
                    let text = String::from_utf8(bytes).map_err(|_| not_utf8(&path))?;
                    files.push((path, text));
                }
            }
        }
    }
    files.sort();
    Ok(files)
}

fn parse(file: &str, text: &str, base: &str) -> Result<Vec<Quad>, GraphError> {
    // Blank nodes are named per file; renaming keeps those of two files apart.
    RdfParser::from_format(RdfFormat::Turtle)
        .rename_blank_nodes()
        .for_slice(text.as_bytes())
        .map(|quad| quad.map(|quad| move_to(quad, base)).map_err(|error| syntax_error(file, &error)))
        .collect()
}

fn syntax_error(file: &str, error: &RdfSyntaxError) -> GraphError {
    let (line, column) = error.location().map_or((0, 0), |range| (range.start.line + 1, range.start.column + 1));
    GraphError::Syntax { file: file.to_owned(), line, column, message: error.to_string() }
}

fn move_to(mut quad: Quad, base: &str) -> Quad {
    if base == DEFAULT_BASE {
        return quad;
    }
    let moved = |node: &NamedNode| {
        // The base is a valid IRI prefix and what follows was part of a valid IRI.
        node.as_str().strip_prefix(DEFAULT_BASE).map(|id| NamedNode::new_unchecked(format!("{base}{id}")))
    };
    if let NamedOrBlankNode::NamedNode(node) = &quad.subject
        && let Some(node) = moved(node)
    {
        quad.subject = node.into();
    }
    if let Some(node) = moved(&quad.predicate) {
        quad.predicate = node;
    }
    if let Term::NamedNode(node) = &quad.object
        && let Some(node) = moved(node)
    {
        quad.object = node.into();
    }
    quad
}

/// Remembers where things begin: lines like `math:equation a zj:Concept ;`.
fn note_places(file: &str, text: &str, places: &mut HashMap<String, Place>) {
    for (line, content) in (1..).zip(text.lines()) {
        let mut words = content.split(' ');
        if let (Some(id), Some("a")) = (words.next(), words.next())
            && id.contains(':')
        {
            places.entry(id.to_owned()).or_insert_with(|| Place { file: file.to_owned(), line });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, base: &str) -> Result<KnowledgeGraph, GraphError> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("content.ttl"), text).unwrap();
        KnowledgeGraph::load(Content::Directory(directory.path()), base)
    }

    const UNIT: &str = "@prefix zj: <urn:zhujiao:vocab:> . @prefix math: <urn:zhujiao:math:> .
@prefix subject: <urn:zhujiao:subject:> . @prefix skos: <http://www.w3.org/2004/02/skos/core#> .
math:unit-1 a zj:Unit ; zj:subject subject:math ; zj:grade 7 ; zj:order 1 ; skos:prefLabel \"方程\"@zh .
math:equation a zj:Concept ; skos:prefLabel \"方程\"@zh ; zj:subject subject:math ; zj:unit math:unit-1 ; zj:grade 7 .
math:odd a zj:Concept ; skos:prefLabel \"奇\"@zh ; zj:subject subject:math ; zj:unit math:unit-1 ; zj:grade 77 .
";

    #[test]
    fn syntax_errors_name_file_and_line() {
        match load("@prefix a: <urn:a> .\na:b a:c .\n", DEFAULT_BASE) {
            Err(GraphError::Syntax { file, line, .. }) => assert!(file.ends_with("content.ttl") && line == 2, "{line}"),
            other => panic!("{:?}", other.err()),
        }
    }

    #[test]
    fn ids_do_not_depend_on_the_base() {
        for base in [DEFAULT_BASE, "https://school.example/graph/"] {
            let graph = load(UNIT, base).unwrap();
            assert_eq!(graph.concept("math:equation").unwrap().unit.id, "math:unit-1");
            let iri = format!("{base}math:equation");
            assert_eq!(graph.id_of(&iri), "math:equation");
            let node = NamedNode::new(iri).unwrap();
            assert!(graph.store().quads_for_pattern(Some(node.as_ref().into()), None, None, None).next().is_some());
        }
    }

    #[test]
    fn what_is_incomplete_is_left_out_and_reported() {
        let graph = load(UNIT, DEFAULT_BASE).unwrap();
        assert!(graph.concept("math:odd").is_none());
        assert_eq!(graph.problems().iter().map(|p| p.id.as_str()).collect::<Vec<_>>(), ["math:odd"]);
        assert_eq!(graph.place("math:odd").unwrap().line, 5);
    }

    #[test]
    fn bases_and_folders_are_checked() {
        assert!(matches!(load(UNIT, "no iri"), Err(GraphError::Base(_))));
        assert!(matches!(load(UNIT, "https://school.example"), Err(GraphError::Base(_))));
        let empty = tempfile::tempdir().unwrap();
        let loaded = KnowledgeGraph::load(Content::Directory(empty.path()), DEFAULT_BASE);
        assert!(matches!(loaded, Err(GraphError::Empty(_))));
        let missing = KnowledgeGraph::load(Content::Directory(Path::new("/nowhere/at/all")), DEFAULT_BASE);
        assert!(matches!(missing, Err(GraphError::Read { .. })));
    }
}
