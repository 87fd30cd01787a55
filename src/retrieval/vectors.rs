//! The vectors in memory and the exact scan over them: an int8 pass over all rows, then f16 against f32 for the best.
//!
//! A row of 384 values takes 1.2 KB. The first pass reads 384 bytes per row, so 100,000 rows are 38 MB, a few
//! milliseconds.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use half::f16;
use uuid::Uuid;

use super::index::{Collection, Filter, Scored, Vector};
use crate::domain::{Grade, Subject};

/// How many rows the second pass scores for each one wanted. The int8 error moves a score by less than 0.005, which
/// separates far fewer neighbours than this.
const RESCORED_PER_HIT: usize = 4;
const RESCORED_AT_LEAST: usize = 64;

/// What a filter looks at, per document.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scope {
    pub collection: Collection,
    pub subject: Option<Subject>,
    pub grade: Option<Grade>,
    pub school: Option<Arc<str>>,
}

impl Scope {
    fn matches(&self, filter: &Filter) -> bool {
        filter.collection.is_none_or(|wanted| wanted == self.collection)
            && filter.subject.is_none_or(|wanted| self.subject.is_none_or(|own| own == wanted))
            && filter.grade.is_none_or(|wanted| self.grade.is_none_or(|own| own == wanted))
            && filter.visibility.sees(self.school.as_deref())
    }
}

/// One stored vector.
pub(super) struct VectorRow {
    pub passage: Uuid,
    pub document: Uuid,
    pub scope: Scope,
    pub encoder: String,
    pub values: Vec<f16>,
}

/// All vectors, by encoder, as of one version of the index.
#[derive(Default)]
pub(super) struct VectorCache {
    /// The `index_state` that this is a copy of.
    pub version: i64,
    tables: HashMap<String, Table>,
}

impl VectorCache {
    pub fn new(version: i64, rows: impl IntoIterator<Item = VectorRow>) -> Self {
        let mut cache = Self { version, tables: HashMap::new() };
        cache.add(rows);
        cache
    }

    pub fn add(&mut self, rows: impl IntoIterator<Item = VectorRow>) {
        for row in rows {
            let width = row.values.len();
            self.tables.entry(row.encoder.clone()).or_insert_with(|| Table::new(width)).push(row);
        }
    }

    pub fn remove_document(&mut self, document: Uuid) {
        self.tables.values_mut().for_each(|table| table.remove(|row| row.document == document));
    }

    pub fn remove_passages(&mut self, passages: &HashSet<Uuid>) {
        self.tables.values_mut().for_each(|table| table.remove(|row| passages.contains(&row.passage)));
    }

    /// Length of an encoder's vectors, if there is one.
    pub fn width(&self, encoder: &str) -> Option<usize> {
        self.tables.get(encoder).map(|table| table.width)
    }

    /// The best rows by cosine.
    pub fn scan(&self, query: &Vector, filter: &Filter, limit: usize) -> Vec<Scored> {
        match self.tables.get(&query.encoder) {
            Some(table) if table.width == query.values.len() => table.scan(&query.values, filter, limit),
            _ => Vec::new(),
        }
    }
}

struct Owner {
    passage: Uuid,
    document: Uuid,
    scope: Scope,
}

/// Rows of one width, column by column.
struct Table {
    width: usize,
    owners: Vec<Owner>,
    scales: Vec<f32>,
    codes: Vec<i8>,
    halves: Vec<f16>,
}

impl Table {
    fn new(width: usize) -> Self {
        Self { width, owners: Vec::new(), scales: Vec::new(), codes: Vec::new(), halves: Vec::new() }
    }

    fn push(&mut self, row: VectorRow) {
        // A row of another width cannot come from the same encoder; it can be found by words only.
        if row.values.len() != self.width {
            tracing::warn!(passage = %row.passage, "a vector of the wrong length is passed over");
            return;
        }
        let values: Vec<f32> = row.values.iter().map(|value| value.to_f32()).collect();
        let (codes, scale) = quantize(&values);
        self.codes.extend(codes);
        self.scales.push(scale);
        self.halves.extend(row.values);
        self.owners.push(Owner { passage: row.passage, document: row.document, scope: row.scope });
    }

    fn remove(&mut self, gone: impl Fn(&Owner) -> bool) {
        let width = self.width;
        let mut kept = 0;
        for row in 0..self.owners.len() {
            if gone(&self.owners[row]) {
                continue;
            }
            if kept != row {
                self.owners.swap(kept, row);
                self.scales[kept] = self.scales[row];
                self.codes.copy_within(row * width..(row + 1) * width, kept * width);
                self.halves.copy_within(row * width..(row + 1) * width, kept * width);
            }
            kept += 1;
        }
        self.owners.truncate(kept);
        self.scales.truncate(kept);
        self.codes.truncate(kept * width);
        self.halves.truncate(kept * width);
    }

    fn scan(&self, query: &[f32], filter: &Filter, limit: usize) -> Vec<Scored> {
        if limit == 0 || self.width == 0 {
            return Vec::new();
        }
        let (codes, _) = quantize(query);
        let rows = self.codes.chunks_exact(self.width).zip(&self.scales).zip(&self.owners).enumerate();
        let mut rough: Vec<(f32, usize)> = rows
            .filter(|(_, (_, owner))| owner.scope.matches(filter))
            .map(|(row, ((row_codes, scale), _))| (dot_i8(row_codes, &codes) as f32 * scale, row))
            .collect();
        let rescored = (limit * RESCORED_PER_HIT).max(RESCORED_AT_LEAST);
        if rough.len() > rescored {
            rough.select_nth_unstable_by(rescored, |a, b| b.0.total_cmp(&a.0));
            rough.truncate(rescored);
        }
        let mut exact: Vec<(f32, usize)> = rough
            .into_iter()
            .map(|(_, row)| (dot_f16(&self.halves[row * self.width..(row + 1) * self.width], query), row))
            .collect();
        // Equal scores keep the order of insertion, so that the same search gives the same answer.
        exact.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        exact.truncate(limit);
        exact.into_iter().map(|(score, row)| Scored { id: self.owners[row].passage, score: score.into() }).collect()
    }
}

/// Symmetric int8 codes and the value of one step.
fn quantize(values: &[f32]) -> (Vec<i8>, f32) {
    let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let step = largest / 127.0;
    let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
    (values.iter().map(|value| (value * inverse).round() as i8).collect(), step)
}

fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(&a, &b)| i32::from(i16::from(a) * i16::from(b))).sum()
}

fn dot_f16(a: &[f16], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a.to_f32() * b).sum()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;
    use crate::retrieval::index::Visibility;

    fn scope() -> Scope {
        Scope { collection: Collection::Curriculum, subject: None, grade: None, school: None }
    }

    fn unit(rng: &mut StdRng, width: usize) -> Vec<f32> {
        let values: Vec<f32> = (0..width).map(|_| rng.random_range(-1.0..1.0)).collect();
        let length = values.iter().map(|v| v * v).sum::<f32>().sqrt();
        values.into_iter().map(|v| v / length).collect()
    }

    fn row(passage: u128, values: &[f32], scope: Scope) -> VectorRow {
        VectorRow {
            passage: Uuid::from_u128(passage),
            document: Uuid::from_u128(passage / 10),
            scope,
            encoder: "e".to_owned(),
            values: values.iter().map(|&v| f16::from_f32(v)).collect(),
        }
    }

    fn query(values: Vec<f32>) -> Vector {
        Vector { encoder: "e".to_owned(), values }
    }

    fn ids(scored: &[Scored]) -> Vec<u128> {
        scored.iter().map(|scored| scored.id.as_u128()).collect()
    }

    #[test]
    fn the_two_passes_find_what_an_exact_scan_finds() {
        let mut rng = StdRng::seed_from_u64(7);
        let vectors: Vec<Vec<f32>> = (0..2_000).map(|_| unit(&mut rng, 96)).collect();
        let cache = VectorCache::new(0, vectors.iter().enumerate().map(|(i, v)| row(i as u128, v, scope())));
        for _ in 0..20 {
            let wanted = unit(&mut rng, 96);
            let mut exact: Vec<(f32, u128)> = vectors
                .iter()
                .enumerate()
                .map(|(i, v)| (v.iter().zip(&wanted).map(|(a, b)| f16::from_f32(*a).to_f32() * b).sum(), i as u128))
                .collect();
            exact.sort_by(|a, b| b.0.total_cmp(&a.0));
            let expected: Vec<u128> = exact[..10].iter().map(|entry| entry.1).collect();
            assert_eq!(ids(&cache.scan(&query(wanted), &Filter::default(), 10)), expected);
        }
    }

    #[test]
    fn filters_and_visibility_hold() {
        let school = |name: &str| Scope { school: Some(name.into()), ..scope() };
        let math = Scope { subject: Some(Subject::Math), grade: Grade::new(7).ok(), ..scope() };
        let affairs = Scope { collection: Collection::Affairs, ..scope() };
        let scopes = [scope(), school("a"), school("b"), math, affairs];
        let cache = VectorCache::new(0, scopes.into_iter().enumerate().map(|(i, s)| row(i as u128, &[1.0, 0.0], s)));
        let check = |filter: Filter, expected: &[u128]| {
            assert_eq!(ids(&cache.scan(&query(vec![1.0, 0.0]), &filter, 9)), expected, "{filter:?}");
        };
        check(Filter::default(), &[0, 3, 4]);
        check(Filter { visibility: Visibility::School("a".into()), ..Filter::default() }, &[0, 1, 3, 4]);
        check(Filter { collection: Some(Collection::Affairs), ..Filter::default() }, &[4]);
        check(Filter { subject: Some(Subject::Physics), ..Filter::default() }, &[0, 4]);
        check(Filter { grade: Grade::new(7).ok(), ..Filter::default() }, &[0, 3, 4]);
    }

    #[test]
    fn removal_keeps_the_rest_in_place() {
        let rows = (0..40).map(|i| row(i, &[(i as f32 + 1.0) / 100.0, 1.0], scope()));
        let mut cache = VectorCache::new(0, rows);
        cache.remove_document(Uuid::from_u128(3));
        cache.remove_passages(&HashSet::from([Uuid::from_u128(29)]));
        let found = ids(&cache.scan(&query(vec![1.0, 0.0]), &Filter::default(), 40));
        let expected: Vec<u128> = (0..29).rev().collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn vectors_of_another_encoder_are_not_compared() {
        let cache = VectorCache::new(0, [row(1, &[1.0, 0.0], scope())]);
        let other = Vector { encoder: "f".to_owned(), values: vec![1.0, 0.0] };
        assert_eq!(cache.scan(&other, &Filter::default(), 5), []);
        assert_eq!(cache.scan(&query(vec![1.0]), &Filter::default(), 5), []);
    }
}
