//! Walks over prerequisites and related concepts.

use std::collections::{BTreeSet, HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::KnowledgeGraph;
use crate::domain::Grade;

/// The largest depth of a neighbourhood; larger ones are cut to it.
const MAX_DEPTH: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RelationKind {
    /// `from` requires `to`: `to` is the prerequisite.
    Requires,
    /// Worth connecting, without a direction.
    Related,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Edge {
    pub from: String,
    pub to: String,
    pub relation: RelationKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    pub id: String,
    pub label: String,
    pub grade: Grade,
    /// Steps from the concept asked for.
    pub distance: usize,
}

/// Concepts around one, nearest first, and every relation between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Neighbourhood {
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PathKind {
    /// Each concept is required by the next: the order in which they are learnt.
    Prerequisite,
    /// Some steps go over related concepts or against the direction of learning.
    Related,
}

/// A shortest way from one concept to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConceptPath {
    pub kind: PathKind,
    /// From the one asked for first to the other; for [`PathKind::Prerequisite`], from what is learnt first.
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
}

impl KnowledgeGraph {
    /// Concepts within `depth` steps (1 to 3) over prerequisites in both directions and related concepts; none for an
    /// unknown id.
    pub fn neighbourhood(&self, id: &str, depth: usize) -> Option<Neighbourhood> {
        let start = self.position(id)?;
        let mut distances = HashMap::from([(start, 0)]);
        let mut order = vec![start];
        let mut queue = VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            let distance = distances[&at] + 1;
            if distance > depth.clamp(1, MAX_DEPTH) {
                break;
            }
            for (next, _) in self.neighbours(at) {
                if let std::collections::hash_map::Entry::Vacant(place) = distances.entry(next) {
                    place.insert(distance);
                    order.push(next);
                    queue.push_back(next);
                }
            }
        }
        let nodes = order.iter().map(|at| self.node(*at, distances[at])).collect();
        let mut edges = BTreeSet::new();
        for at in &order {
            edges.extend(self.neighbours(*at).into_iter().filter(|(to, _)| distances.contains_key(to)).map(|(_, e)| e));
        }
        Some(Neighbourhood { nodes, edges: edges.into_iter().collect() })
    }

    /// The shortest chain of prerequisites between two concepts if one is a prerequisite of the other, directly or not;
    /// otherwise the shortest way over all relations. None for unknown ids or unconnected concepts.
    pub fn path(&self, from: &str, to: &str) -> Option<ConceptPath> {
        let (from, to) = (self.position(from)?, self.position(to)?);
        let upwards = |at: usize| self.required_by(at);
        let all = |at: usize| self.neighbours(at).into_iter().map(|(next, _)| next).collect();
        let (kind, path) = shortest(from, to, upwards)
            .or_else(|| shortest(to, from, upwards))
            .map(|path| (PathKind::Prerequisite, path))
            .or_else(|| Some((PathKind::Related, shortest(from, to, all)?)))?;
        let edges = path
            .windows(2)
            .filter_map(|pair| {
                let mut between: Vec<Edge> =
                    self.neighbours(pair[0]).into_iter().filter(|(next, _)| *next == pair[1]).map(|(_, e)| e).collect();
                // A prerequisite says more than a relation.
                between.sort_by_key(|edge| edge.relation);
                between.into_iter().next()
            })
            .collect();
        let nodes = path.iter().enumerate().map(|(distance, at)| self.node(*at, distance)).collect();
        Some(ConceptPath { kind, nodes, edges })
    }

    /// The ids of everything that must be known before a concept, in an order in which it can be taught; without the
    /// concept itself, empty for an unknown id.
    pub fn prerequisite_closure(&self, id: &str) -> Vec<String> {
        fn visit(graph: &KnowledgeGraph, at: usize, seen: &mut BTreeSet<usize>, order: &mut Vec<usize>) {
            if !seen.insert(at) {
                return;
            }
            for before in graph.prerequisites_of(at) {
                visit(graph, before, seen, order);
            }
            order.push(at);
        }
        let Some(start) = self.position(id) else { return Vec::new() };
        let mut order = Vec::new();
        visit(self, start, &mut BTreeSet::new(), &mut order);
        order.pop();
        order.into_iter().map(|at| self.concepts()[at].id.clone()).collect()
    }

    fn node(&self, at: usize, distance: usize) -> Node {
        let concept = &self.concepts()[at];
        Node { id: concept.id.clone(), label: concept.label.clone(), grade: concept.grade, distance }
    }

    /// Direct prerequisites in teaching order.
    pub(super) fn prerequisites_of(&self, at: usize) -> Vec<usize> {
        self.concepts()[at].prerequisites.iter().filter_map(|other| self.position(&other.id)).collect()
    }

    /// The concepts that require this one, in teaching order.
    fn required_by(&self, at: usize) -> Vec<usize> {
        let id = &self.concepts()[at].id;
        let requires = |other: usize| self.concepts()[other].prerequisites.iter().any(|p| p.id == *id);
        (0..self.concepts().len()).filter(|other| requires(*other)).collect()
    }

    /// Neighbours in any direction: prerequisites, what requires it, related concepts.
    fn neighbours(&self, at: usize) -> Vec<(usize, Edge)> {
        let id = |at: usize| self.concepts()[at].id.clone();
        let edge = |from, to, relation| Edge { from: id(from), to: id(to), relation };
        let mut found = Vec::new();
        for before in self.prerequisites_of(at) {
            found.push((before, edge(at, before, RelationKind::Requires)));
        }
        for after in self.required_by(at) {
            found.push((after, edge(after, at, RelationKind::Requires)));
        }
        for other in self.concepts()[at].related.iter().filter_map(|other| self.position(&other.id)) {
            found.push((other, edge(at.min(other), at.max(other), RelationKind::Related)));
        }
        found
    }
}

/// Breadth first; the first way found is a shortest one.
fn shortest(from: usize, to: usize, next: impl Fn(usize) -> Vec<usize>) -> Option<Vec<usize>> {
    let mut before = HashMap::from([(from, from)]);
    let mut queue = VecDeque::from([from]);
    while let Some(at) = queue.pop_front() {
        if at == to {
            let mut path = vec![to];
            let mut at = to;
            while at != from {
                at = before[&at];
                path.push(at);
            }
            path.reverse();
            return Some(path);
        }
        for other in next(at) {
            if let std::collections::hash_map::Entry::Vacant(place) = before.entry(other) {
                place.insert(at);
                queue.push_back(other);
            }
        }
    }
    None
}
