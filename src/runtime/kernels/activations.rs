//! Activations rounded to 8 bits, laid out for the kernels.
//!
//! The rows of a batch form tiles of eight, four, two or one. Within a tile each block of 32 inputs is contiguous:
//!
//! ```text
//! block = [8 cells][rows][4] i8 | [rows] f32 sums | [rows] i32 corrections | [2][rows] i32 corrections of the halves
//! ```
//!
//! Cell g holds the inputs 4 g to 4 g + 3. The sum of a block's quants is what a weight format with minimums needs; -128
//! times the sums is what one with offsets starts from. One scale covers a group of blocks.

use super::format::{BLOCK, GROUP_BLOCKS};
use super::memory::Lines;
use super::strip::TILE_WIDTHS;
use crate::runtime::model::parallel;

/// Bytes per row and block.
pub(super) const BLOCK_BYTES: usize = BLOCK + 16;

/// Some neighbouring rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    /// First row.
    pub row: usize,
    /// Index into [`TILE_WIDTHS`].
    pub width: usize,
}

impl Tile {
    pub fn rows(self) -> usize {
        TILE_WIDTHS[self.width]
    }
}

/// What is done to a row before it is rounded.
#[derive(Clone, Copy)]
pub enum Preparation<'a> {
    None,
    /// `x / rms(x) * weight` with `rms(x) = sqrt(mean(x^2) + epsilon)`.
    RmsNorm {
        weight: &'a [f32],
        epsilon: f32,
    },
}

/// Rows of activations, each group of inputs rounded to multiples of a 127th of its largest magnitude.
pub struct Activations {
    inputs: usize,
    rows: usize,
    tiles: Vec<Tile>,
    blocks: Lines,
    /// Per tile: `[groups][rows of the tile]`.
    scales: Vec<f32>,
}

/// Blocks per group in a matrix of so many inputs: the largest power of two up to [`GROUP_BLOCKS`] that divides its blocks.
pub(super) fn group_blocks(inputs: usize) -> usize {
    1 << (inputs / BLOCK).trailing_zeros().min(GROUP_BLOCKS.trailing_zeros())
}

impl Activations {
    /// Rounds `rows`, which hold a multiple of `inputs` elements; `inputs` is a multiple of 32.
    ///
    /// Elements that are no numbers come out as any number.
    pub fn quantize(rows: &[f32], inputs: usize, preparation: Preparation<'_>) -> Self {
        assert!(
            inputs > 0 && inputs.is_multiple_of(BLOCK) && rows.len().is_multiple_of(inputs),
            "whole rows of blocks"
        );
        let count = rows.len() / inputs;
        let tiles = tiles(count);
        let per_group = group_blocks(inputs);
        let groups = inputs / BLOCK / per_group;
        let row_bytes = inputs / BLOCK * BLOCK_BYTES;
        let mut blocks = Lines::zeroed(count * row_bytes);
        let mut scales = vec![0.0; count * groups];
        let mut parts = Vec::with_capacity(tiles.len());
        let (mut rest, mut rest_scales) = (blocks.as_mut_slice(), scales.as_mut_slice());
        for tile in &tiles {
            let (part, behind) = rest.split_at_mut(tile.rows() * row_bytes);
            let (part_scales, behind_scales) = rest_scales.split_at_mut(tile.rows() * groups);
            (rest, rest_scales) = (behind, behind_scales);
            parts.push((*tile, part, part_scales));
        }
        let work = |(tile, part, part_scales): (Tile, &mut [u8], &mut [f32])| {
            let mut prepared = vec![0.0; inputs];
            for (place, row) in rows.chunks_exact(inputs).skip(tile.row).take(tile.rows()).enumerate() {
                let row = match preparation {
                    Preparation::None => row,
                    Preparation::RmsNorm { weight, epsilon } => {
                        rms_norm(row, weight, epsilon, &mut prepared);
                        &prepared
                    }
                };
                write_row(row, per_group, (place, tile.rows()), part, part_scales);
            }
        };
        // A few rows are done before other threads have woken up.
        if rows.len() < 1 << 14 {
            parts.into_iter().for_each(work);
        } else {
            parallel::for_each(parts, work);
        }
        Self { inputs, rows: count, tiles, blocks, scales }
    }

    pub fn inputs(&self) -> usize {
        self.inputs
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn tiles(&self) -> &[Tile] {
        &self.tiles
    }

    /// Blocks and scales of a tile from one of its groups on.
    pub(super) fn part(&self, tile: Tile, group: usize) -> (*const u8, *const f32) {
        let per_group = group_blocks(self.inputs);
        let groups = self.inputs / BLOCK / per_group;
        let before = tile.row * groups + group * tile.rows();
        (self.blocks.as_slice()[before * per_group * BLOCK_BYTES..].as_ptr(), self.scales[before..].as_ptr())
    }
}

/// Cuts rows into tiles, the widest first.
fn tiles(rows: usize) -> Vec<Tile> {
    let mut tiles = Vec::with_capacity(rows.div_ceil(TILE_WIDTHS[0]) + TILE_WIDTHS.len());
    let mut row = 0;
    for (width, size) in TILE_WIDTHS.into_iter().enumerate() {
        while rows - row >= size {
            tiles.push(Tile { row, width });
            row += size;
        }
    }
    tiles
}

/// `x / rms(x) * weight`.
fn rms_norm(row: &[f32], weight: &[f32], epsilon: f32, target: &mut [f32]) {
    // Sixteen partial sums make vector code; one sum would be a chain of dependent additions.
    let mut partial = [0.0_f32; 16];
    let (chunks, rest) = row.as_chunks::<16>();
    for chunk in chunks {
        partial.iter_mut().zip(chunk).for_each(|(sum, x)| *sum = parallel::multiply_add(*x, *x, *sum));
    }
    let sum = partial.iter().sum::<f32>() + rest.iter().map(|x| x * x).sum::<f32>();
    let factor = 1.0 / (sum / row.len() as f32 + epsilon).sqrt();
    for ((target, x), weight) in target.iter_mut().zip(row).zip(weight) {
        *target = x * factor * weight;
    }
}

/// Writes one row into its place in a tile.
fn write_row(
    row: &[f32],
    per_group: usize,
    (place, width): (usize, usize),
    tile_blocks: &mut [u8],
    tile_scales: &mut [f32],
) {
    let (blocks, _) = row.as_chunks::<BLOCK>();
    let groups = blocks.chunks_exact(per_group).zip(tile_scales.chunks_exact_mut(width));
    let mut targets = tile_blocks.chunks_exact_mut(BLOCK_BYTES * width);
    for (group, scales) in groups {
        let mut magnitudes = [0.0_f32; BLOCK];
        for block in group {
            magnitudes.iter_mut().zip(block).for_each(|(magnitude, x)| *magnitude = magnitude.max(x.abs()));
        }
        let largest = magnitudes.iter().fold(0.0_f32, |largest, x| largest.max(*x));
        let scale = largest / 127.0;
        // So small a magnitude that its inverse overflows is nothing beside anything it could be added to.
        let inverse = if scale > f32::MIN_POSITIVE { 1.0 / scale } else { 0.0 };
        scales[place] = scale;
        for (block, target) in group.iter().zip(&mut targets) {
            write_block(block, inverse, (place, width), target);
        }
    }
}

fn write_block(block: &[f32; BLOCK], inverse: f32, (place, width): (usize, usize), target: &mut [u8]) {
    // Adding 1.5 * 2^23 rounds to the nearest whole number, ties to even, and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let mut quants = [0_i8; BLOCK];
    for (quant, x) in quants.iter_mut().zip(block) {
        *quant = parallel::multiply_add(*x, inverse, ROUND).to_bits() as i8;
    }
    let halves: [i32; 2] =
        std::array::from_fn(|half| quants[16 * half..16 * half + 16].iter().map(|q| i32::from(*q)).sum());
    let (cells, _) = quants.as_chunks::<4>();
    let mut put = |offset: usize, bytes: [u8; 4]| target[offset..offset + 4].copy_from_slice(&bytes);
    for (cell, quants) in cells.iter().enumerate() {
        put(4 * (cell * width + place), quants.map(|quant| quant as u8));
    }
    let sum = halves[0] + halves[1];
    let behind = BLOCK * width + 4 * place;
    put(behind, (sum as f32).to_ne_bytes());
    for (index, sum) in [sum, halves[0], halves[1]].into_iter().enumerate() {
        put(behind + 4 * width * (index + 1), (-128 * sum).to_ne_bytes());
    }
}
