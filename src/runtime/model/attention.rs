//! Attention on the CPU: one fused pass over the blocks of each sequence.
//!
//! Queries, keys and values come straight out of the projections; biases and rotations are applied on the way. Work is cut
//! into tiles of query vectors that share a key head (grouped-query attention, Ainslie et al. 2023, arXiv:2305.13245): a
//! block's keys and values are widened once per tile and used by all of its vectors, and the softmax is carried along block
//! by block (Dao et al. 2022, arXiv:2205.14135), so nothing is repeated, concatenated or kept per position.

use std::ops::Range;

use super::heads::{HeadLayout, HeadNorm, Heads};
use super::kv::{Element, HostLayer};
use super::rope::Rotations;
use super::{BLOCK_TOKENS, BlockId, parallel};
use crate::runtime::kernels::InstructionSetKind;
use parallel::{exp, multiply_add};

/// Most query vectors of a tile: their queries and results stay in the first-level cache next to one block.
const TILE_VECTORS: usize = 32;

/// Columns of the widest panel of a value tile that is accumulated at once.
const PANEL: usize = 32;

/// Lanes in which maxima and sums are taken.
const LANES: usize = 8;

/// Columns of the panel for what a multiple of [`PANEL`] leaves over.
const NARROW_PANEL: usize = 16;

/// Where the rows of one step stand in the batch.
#[derive(Clone, Debug)]
pub(super) struct BatchStep<'a> {
    /// First row of the batch.
    pub row: usize,
    pub rows: usize,
    /// Position of the first row in its sequence.
    pub start: usize,
    pub blocks: &'a [BlockId],
}

impl BatchStep<'_> {
    /// Block and slot of a position of the sequence.
    fn place(&self, position: usize) -> (usize, usize) {
        (self.blocks[position / BLOCK_TOKENS].0 as usize, position % BLOCK_TOKENS)
    }
}

/// One projection's rows and what is still to be done to them: adding the bias, normalizing every head.
#[derive(Clone, Copy)]
pub(super) struct Projection<'a> {
    pub rows: &'a [f32],
    pub bias: Option<&'a [f32]>,
    pub norm: Option<&'a HeadNorm>,
}

impl Projection<'_> {
    /// Copies one head of one row, bias added and normalized.
    fn head(&self, row: usize, width: usize, head: usize, target: &mut [f32]) {
        let columns = head * target.len()..(head + 1) * target.len();
        target.copy_from_slice(&self.rows[row * width..(row + 1) * width][columns.clone()]);
        if let Some(bias) = self.bias {
            target.iter_mut().zip(&bias[columns]).for_each(|(value, bias)| *value += bias);
        }
        if let Some(norm) = self.norm {
            norm.apply(target);
        }
    }
}

/// Finishes and rotates the batch's keys, and writes keys and values to the store.
pub(super) fn write<E: Element>(
    layer: &mut HostLayer<E>,
    layout: HeadLayout,
    steps: &[BatchStep<'_>],
    (keys, values): (Projection<'_>, Projection<'_>),
    rotations: &Rotations,
) {
    let width = layout.kv_heads * layout.head_dim;
    let (mut key, mut value) = (vec![0.0; layout.head_dim], vec![0.0; layout.head_dim]);
    for step in steps {
        for offset in 0..step.rows {
            let row = step.row + offset;
            for head in 0..layout.kv_heads {
                keys.head(row, width, head, &mut key);
                rotations.apply(row, &mut key);
                values.head(row, width, head, &mut value);
                layer.write(step.place(step.start + offset), head, &key, &value);
            }
        }
    }
}

/// Some query vectors of one step that share a key head. Vector `i` is row `i / group` of the step, query head `i % group`
/// of the key head.
struct Tile<'a, 'o> {
    step: &'a BatchStep<'a>,
    kv_head: usize,
    /// First vector.
    first: usize,
    /// `head_dim` elements per vector.
    output: &'o mut [f32],
}

/// Attends from every row of the batch to its own sequence. Returns `heads * head_dim` columns per row.
pub(super) fn attend<E: Element>(
    layer: &HostLayer<E>,
    heads: &Heads,
    steps: &[BatchStep<'_>],
    queries: Projection<'_>,
    rotations: &Rotations,
) -> Vec<f32> {
    let layout = heads.layout;
    let dim = layout.head_dim;
    let width = layout.heads * dim;
    let mut packed = vec![0.0; queries.rows.len()];
    let tiles = cut(layout, steps, &mut packed);
    let places: Vec<_> = tiles.iter().map(|tile| (tile.step.row, tile.kv_head, tile.first)).collect();
    let lengths: Vec<_> = tiles.iter().map(|tile| tile.output.len()).collect();
    parallel::for_each(tiles, |tile| attend_tile(layer, heads, tile, queries, rotations));

    let mut output = vec![0.0; packed.len()];
    let mut rest = packed.as_slice();
    for ((row, kv_head, first), length) in places.into_iter().zip(lengths) {
        let (tile, behind) = rest.split_at(length);
        rest = behind;
        for (vector, source) in (first..).zip(tile.chunks_exact(dim)) {
            let head = kv_head * layout.group() + vector % layout.group();
            let start = (row + vector / layout.group()) * width + head * dim;
            output[start..start + dim].copy_from_slice(source);
        }
    }
    output
}

/// Cuts the batch into tiles, small enough that every thread has one.
fn cut<'a, 'o>(layout: HeadLayout, steps: &'a [BatchStep<'a>], mut packed: &'o mut [f32]) -> Vec<Tile<'a, 'o>> {
    let vectors = packed.len() / layout.head_dim;
    let tile_vectors = vectors.div_ceil(parallel::threads()).min(TILE_VECTORS);
    let mut tiles = Vec::new();
    for step in steps {
        let vectors = step.rows * layout.group();
        for kv_head in 0..layout.kv_heads {
            for first in (0..vectors).step_by(tile_vectors) {
                let length = tile_vectors.min(vectors - first) * layout.head_dim;
                let (output, rest) = std::mem::take(&mut packed).split_at_mut(length);
                packed = rest;
                tiles.push(Tile { step, kv_head, first, output });
            }
        }
    }
    tiles
}

/// The running softmax of one query vector.
#[derive(Clone, Copy)]
struct Softmax {
    maximum: f32,
    sum: f32,
}

impl Softmax {
    /// Turns the scores of the `seen` positions of a block into weights relative to the running maximum, the rest into
    /// zeros. Returns the factor by which what was accumulated before has to shrink.
    #[inline(always)]
    fn update(&mut self, scores: &mut [f32; BLOCK_TOKENS], seen: Range<usize>) -> f32 {
        scores[..seen.start].fill(f32::NEG_INFINITY);
        scores[seen.end..].fill(f32::NEG_INFINITY);
        // By lanes: one maximum or sum alone would be a chain of dependent operations.
        let mut lanes = [self.maximum; LANES];
        for part in scores.as_chunks::<LANES>().0 {
            lanes.iter_mut().zip(part).for_each(|(lane, score)| *lane = if *score > *lane { *score } else { *lane });
        }
        let maximum = lanes.into_iter().fold(self.maximum, f32::max);
        let shrink = exp(self.maximum - maximum);
        for score in scores.iter_mut() {
            *score = exp(*score - maximum);
        }
        scores[..seen.start].fill(0.0);
        scores[seen.end..].fill(0.0);
        let mut lanes = [0.0; LANES];
        for part in scores.as_chunks::<LANES>().0 {
            lanes.iter_mut().zip(part).for_each(|(lane, weight)| *lane += weight);
        }
        self.sum = self.sum * shrink + lanes.iter().sum::<f32>();
        self.maximum = maximum;
        shrink
    }
}

/// [`attend_tile_with`], with the widest vectors that the machine has: the compiler makes the loops out of them.
fn attend_tile<E: Element>(
    layer: &HostLayer<E>,
    heads: &Heads,
    tile: Tile<'_, '_>,
    queries: Projection<'_>,
    rotations: &Rotations,
) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
        fn wide<E: Element>(
            layer: &HostLayer<E>,
            heads: &Heads,
            tile: Tile<'_, '_>,
            queries: Projection<'_>,
            rotations: &Rotations,
        ) {
            attend_tile_with(layer, heads, tile, queries, rotations);
        }
        if InstructionSetKind::best() == InstructionSetKind::Avx512Vnni && is_x86_feature_detected!("avx512dq") {
            // SAFETY: the features were just found.
            return unsafe { wide(layer, heads, tile, queries, rotations) };
        }
    }
    attend_tile_with(layer, heads, tile, queries, rotations);
}

#[inline(always)]
fn attend_tile_with<E: Element>(
    layer: &HostLayer<E>,
    heads: &Heads,
    tile: Tile<'_, '_>,
    queries: Projection<'_>,
    rotations: &Rotations,
) {
    let Tile { step, kv_head, first, output } = tile;
    let layout = heads.layout;
    let dim = layout.head_dim;
    let vectors = output.len() / dim;
    let position = |vector: usize| step.start + (first + vector) / layout.group();
    let queries = tile_queries(heads, step, kv_head, first..first + vectors, (queries, rotations));
    let (mut keys, mut values) = (vec![0.0; dim * BLOCK_TOKENS], vec![0.0; dim * BLOCK_TOKENS]);
    let mut states = vec![Softmax { maximum: f32::MIN, sum: 0.0 }; vectors];

    for block in heads.first_seen(position(0)) / BLOCK_TOKENS..=position(vectors - 1) / BLOCK_TOKENS {
        let id = step.blocks[block].0 as usize;
        let block_start = block * BLOCK_TOKENS;
        layer.keys(id, kv_head, &mut keys);
        layer.values(id, kv_head, &mut values);
        // Rows ascend within a tile: the first vectors stand before the block, the last may have it outside their window.
        let mut vector = (0..vectors).find(|vector| position(*vector) >= block_start).unwrap_or(vectors);
        let end = (vector..vectors)
            .find(|vector| heads.first_seen(position(*vector)) >= block_start + BLOCK_TOKENS)
            .unwrap_or(vectors);
        while vector < end {
            let pair = (end - vector).min(2);
            let query = &queries[vector * dim..(vector + pair) * dim];
            let result = &mut output[vector * dim..(vector + pair) * dim];
            let seen: [Range<usize>; 2] = std::array::from_fn(|i| {
                let position = position((vector + i).min(end - 1));
                heads.first_seen(position).saturating_sub(block_start)..BLOCK_TOKENS.min(position + 1 - block_start)
            });
            let valid = seen[0].end.max(seen[1].end);
            let mut scores = scores(query, &keys, dim);
            for (i, seen) in seen.into_iter().enumerate().take(pair) {
                let shrink = states[vector + i].update(&mut scores[i], seen);
                if shrink != 1.0 {
                    result[i * dim..(i + 1) * dim].iter_mut().for_each(|value| *value *= shrink);
                }
            }
            accumulate(result, &scores, &values[..valid * dim], dim);
            vector += pair;
        }
    }
    for (result, state) in output.chunks_exact_mut(dim).zip(&states) {
        let scale = 1.0 / state.sum;
        result.iter_mut().for_each(|value| *value *= scale);
    }
}

/// The tile's query vectors, finished, rotated and scaled.
fn tile_queries(
    heads: &Heads,
    step: &BatchStep<'_>,
    kv_head: usize,
    vectors: Range<usize>,
    (queries, rotations): (Projection<'_>, &Rotations),
) -> Vec<f32> {
    let HeadLayout { heads: count, head_dim: dim, .. } = heads.layout;
    let group = heads.layout.group();
    let mut prepared = vec![0.0; vectors.len() * dim];
    for (vector, target) in vectors.zip(prepared.chunks_exact_mut(dim)) {
        let row = step.row + vector / group;
        queries.head(row, count * dim, kv_head * group + vector % group, target);
        rotations.apply(row, target);
        target.iter_mut().for_each(|value| *value *= heads.scale);
    }
    prepared
}

/// Dot products of one or two query vectors with all keys of a block.
///
/// Two at a time, because each loaded row of the tile then feeds enough independent sums to hide the latency of the
/// multiply-add.
#[inline(always)]
fn scores(queries: &[f32], keys: &[f32], dim: usize) -> [[f32; BLOCK_TOKENS]; 2] {
    let (first, second) = queries.split_at(dim);
    let second = if second.is_empty() { first } else { second };
    let (mut a, mut b) = ([0.0; BLOCK_TOKENS], [0.0; BLOCK_TOKENS]);
    let (rows, _) = keys.as_chunks::<BLOCK_TOKENS>();
    for ((x, y), row) in first.iter().zip(second).zip(rows) {
        for column in 0..BLOCK_TOKENS {
            a[column] = multiply_add(*x, row[column], a[column]);
            b[column] = multiply_add(*y, row[column], b[column]);
        }
    }
    [a, b]
}

/// Adds the weighted rows of `values` to one or two results of `dim` elements.
#[inline(always)]
fn accumulate(results: &mut [f32], weights: &[[f32; BLOCK_TOKENS]; 2], values: &[f32], dim: usize) {
    let mut column = 0;
    while column + PANEL <= dim {
        accumulate_panel::<PANEL>(results, weights, values, (dim, column));
        column += PANEL;
    }
    while column < dim {
        accumulate_panel::<NARROW_PANEL>(results, weights, values, (dim, column));
        column += NARROW_PANEL;
    }
}

#[inline(always)]
fn accumulate_panel<const COLUMNS: usize>(
    results: &mut [f32],
    weights: &[[f32; BLOCK_TOKENS]; 2],
    values: &[f32],
    (dim, column): (usize, usize),
) {
    let mut sums = [[0.0_f32; COLUMNS]; 2];
    let [a, b] = &mut sums;
    for ((row, x), y) in values.chunks_exact(dim).zip(&weights[0]).zip(&weights[1]) {
        let (panels, _) = row[column..].as_chunks::<COLUMNS>();
        let Some(panel) = panels.first() else { return };
        for i in 0..COLUMNS {
            a[i] = multiply_add(*x, panel[i], a[i]);
            b[i] = multiply_add(*y, panel[i], b[i]);
        }
    }
    for (result, sums) in results.chunks_exact_mut(dim).zip(&sums) {
        result[column..column + COLUMNS].iter_mut().zip(sums).for_each(|(value, sum)| *value += sum);
    }
}
