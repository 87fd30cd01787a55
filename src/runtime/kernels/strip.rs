//! The innermost loops: one strip of weights times one tile of activations.

use super::activations::BLOCK_BYTES;
use super::format::{BLOCK, Format, STRIP, Unpacked};
#[cfg(target_arch = "aarch64")]
use super::neon::Neon;
use super::simd::{Portable, Simd};

/// How far ahead of its use a cache line of weights is asked for. A core hides the latency of memory only with more lines
/// under way than its own prefetcher asks for: measured on AVX-512 machines, 4-bit weights stream at 12.5 GB/s without and
/// at 22 GB/s with 4 to 10 kB.
const PREFETCH_DISTANCE: usize = 6144;

/// Some groups of a strip and the same groups of a tile.
#[derive(Clone, Copy)]
pub(super) struct Span {
    /// The first group's weights.
    pub weights: *const u8,
    /// The first group's activations.
    pub activations: *const u8,
    /// The first group's activation scales, one per row of the tile.
    pub scales: *const f32,
    pub groups: usize,
    /// Blocks of each group.
    pub blocks: usize,
}

/// Whether the two halves of a block are summed up apart: where they have scales of their own, and with few rows, where one
/// chain of dependent additions per row is too few to keep the multipliers busy.
#[inline(always)]
const fn two_chains<F: Format, const T: usize>() -> bool {
    F::HALVES || T <= 4
}

/// Adds the products of a strip with a tile of `T` rows to `target`, `[T, 16]`.
///
/// For each row and each weight row: the integer products of a block are exact; within a group they are scaled and added in
/// ascending order of the blocks; the groups are added in ascending order. This order is the same for every tile width,
/// format of the weights in memory and instruction set, so a row's result does not depend on what is computed beside it.
///
/// # Safety
/// The span's pointers must be valid for its groups in format `F` and tile width `T`, `target` for `16 T` floats, and the
/// machine must have the instructions of `S`.
#[expect(clippy::needless_range_loop, reason = "the rows of a tile number several arrays and addresses")]
#[inline(always)]
unsafe fn accumulate<S: Simd, F: Format, const T: usize>(span: Span, target: *mut f32) {
    unsafe {
        let Span { mut weights, mut activations, mut scales, groups, blocks } = span;
        for _ in 0..groups {
            let header = F::header::<S>(weights);
            let mut quants = weights.add(F::header_bytes(blocks));
            let mut inner = [S::zero(); T];
            for block in 0..blocks {
                let sums = activations.add(BLOCK * T).cast::<f32>();
                let corrections = sums.add(T).cast::<i32>();
                let two_chains = two_chains::<F, T>();
                let mut low = [S::plain_start(); T];
                let mut high = [S::plain_start(); T];
                if F::OFFSET {
                    for row in 0..T {
                        if F::HALVES {
                            low[row] = S::offset_start(corrections.add(T + row));
                            high[row] = S::offset_start(corrections.add(2 * T + row));
                        } else {
                            low[row] = S::offset_start(corrections.add(row));
                        }
                    }
                }
                macro_rules! pair {
                    ($pair:literal) => {
                        if F::STREAMED {
                            S::prefetch(quants.add(64 * $pair + PREFETCH_DISTANCE));
                            if F::QUANTS > 256 && 64 * $pair < F::QUANTS - 256 {
                                S::prefetch(quants.add(256 + 64 * $pair + PREFETCH_DISTANCE));
                            }
                        }
                        let (first, second) = F::pair::<S, $pair>(quants);
                        let near = activations.add(4 * $pair * T).cast::<i8>();
                        let far = activations.add(4 * ($pair + 4) * T).cast::<i8>();
                        if F::OFFSET {
                            S::dots::<true, T>(&mut low, first, near);
                            S::dots::<true, T>(if two_chains { &mut high } else { &mut low }, second, far);
                        } else {
                            S::dots::<false, T>(&mut low, first, near);
                            S::dots::<false, T>(if two_chains { &mut high } else { &mut low }, second, far);
                        }
                    };
                }
                pair!(0);
                pair!(1);
                pair!(2);
                pair!(3);
                if F::HALVES {
                    let first = F::scale::<S>(header, weights, 2 * block);
                    let second = F::scale::<S>(header, weights, 2 * block + 1);
                    for row in 0..T {
                        inner[row] = S::multiply_add(S::to_floats(low[row]), first, inner[row]);
                        inner[row] = S::multiply_add(S::to_floats(high[row]), second, inner[row]);
                    }
                } else {
                    let scale = F::scale::<S>(header, weights, block);
                    for row in 0..T {
                        let products = if two_chains { S::add_sums(low[row], high[row]) } else { low[row] };
                        inner[row] = S::multiply_add(S::to_floats(products), scale, inner[row]);
                    }
                }
                if F::MINIMUM {
                    let minimum = F::minimum::<S>(header, weights, blocks, block);
                    for row in 0..T {
                        inner[row] = S::multiply_subtract(minimum, S::splat(sums.add(row)), inner[row]);
                    }
                }
                quants = quants.add(F::QUANTS);
                activations = activations.add(BLOCK_BYTES * T);
            }
            for row in 0..T {
                let target = target.add(STRIP * row);
                let sum = S::multiply_add(inner[row], S::splat(scales.add(row)), S::load_floats(target));
                S::store_floats(target, sum);
            }
            weights = weights.add(F::group_bytes(blocks));
            scales = scales.add(T);
        }
    }
}

/// Takes `groups` groups of a strip apart, to [`Unpacked`] groups at `target`.
///
/// # Safety
/// As for [`accumulate`]; `target` must be valid for the unpacked groups.
#[inline(always)]
unsafe fn unpack<S: Simd, F: Format>(mut weights: *const u8, groups: usize, blocks: usize, mut target: *mut u8) {
    unsafe {
        let plan = |target: *mut u8, float: usize| target.add(4 * STRIP * float).cast::<f32>();
        for _ in 0..groups {
            let header = F::header::<S>(weights);
            let scales = if F::HALVES { 2 * blocks } else { blocks };
            for index in 0..scales {
                S::store_floats(plan(target, index), F::scale::<S>(header, weights, index));
            }
            if F::MINIMUM {
                for block in 0..blocks {
                    let minimum = F::minimum::<S>(header, weights, blocks, block);
                    S::store_floats(plan(target, blocks + block), minimum);
                }
            }
            let mut quants = weights.add(F::header_bytes(blocks));
            let floats = if F::HALVES || F::MINIMUM { 2 * blocks } else { blocks };
            target = target.add(4 * STRIP * floats);
            for _ in 0..blocks {
                macro_rules! pair {
                    ($pair:literal) => {
                        S::prefetch(quants.add(64 * $pair + PREFETCH_DISTANCE));
                        let (first, second) = F::pair::<S, $pair>(quants);
                        S::store(target.add(64 * $pair), first);
                        S::store(target.add(256 + 64 * $pair), second);
                    };
                }
                pair!(0);
                pair!(1);
                pair!(2);
                pair!(3);
                quants = quants.add(F::QUANTS);
                target = target.add(STRIP * BLOCK);
            }
            weights = weights.add(F::group_bytes(blocks));
        }
    }
}

/// [`accumulate`] for one format, tile width and instruction set.
pub(super) type Accumulate = unsafe fn(Span, *mut f32);

/// [`unpack`] for one format and instruction set.
pub(super) type Unpack = unsafe fn(*const u8, usize, usize, *mut u8);

/// Widths of tiles, widest first.
pub(super) const TILE_WIDTHS: [usize; 4] = [8, 4, 2, 1];

/// The compiled kernels of one packing, in the order of [`TILE_WIDTHS`].
#[derive(Clone, Copy)]
pub(super) struct StripKernels {
    /// Straight from the packed weights: for few rows.
    pub packed: [Accumulate; 4],
    pub unpack: Unpack,
    /// From what `unpack` made: for many rows.
    pub unpacked: [Accumulate; 4],
    /// Bytes of a group of so many blocks, packed and unpacked.
    pub group_bytes: [fn(usize) -> usize; 2],
}

/// An instruction set with its entry points: the loops above, compiled with its instructions switched on.
pub(super) trait InstructionSet: Simd {
    /// # Safety
    /// See [`accumulate`].
    unsafe fn accumulate<F: Format, const T: usize>(span: Span, target: *mut f32);
    /// # Safety
    /// See [`unpack`].
    unsafe fn unpack<F: Format>(weights: *const u8, groups: usize, blocks: usize, target: *mut u8);

    /// The kernels of a packing `F` that unpacks to `U`.
    fn kernels<F: Format, U: Format>() -> StripKernels {
        StripKernels {
            packed: [
                Self::accumulate::<F, 8>,
                Self::accumulate::<F, 4>,
                Self::accumulate::<F, 2>,
                Self::accumulate::<F, 1>,
            ],
            unpack: Self::unpack::<F>,
            unpacked: [
                Self::accumulate::<U, 8>,
                Self::accumulate::<U, 4>,
                Self::accumulate::<U, 2>,
                Self::accumulate::<U, 1>,
            ],
            group_bytes: [F::group_bytes, U::group_bytes],
        }
    }
}

/// The unpacked formats.
pub(super) type UnpackedPlain = Unpacked<false, false>;
pub(super) type UnpackedOffset = Unpacked<true, false>;
pub(super) type UnpackedHalves = Unpacked<true, true>;

#[cfg(target_arch = "x86_64")]
macro_rules! instruction_set {
    ($name:ty, $features:literal) => {
        impl InstructionSet for $name {
            #[target_feature(enable = $features)]
            unsafe fn accumulate<F: Format, const T: usize>(span: Span, target: *mut f32) {
                unsafe { accumulate::<Self, F, T>(span, target) }
            }

            #[target_feature(enable = $features)]
            unsafe fn unpack<F: Format>(weights: *const u8, groups: usize, blocks: usize, target: *mut u8) {
                unsafe { unpack::<Self, F>(weights, groups, blocks, target) }
            }
        }
    };
}

impl InstructionSet for Portable {
    unsafe fn accumulate<F: Format, const T: usize>(span: Span, target: *mut f32) {
        unsafe { accumulate::<Self, F, T>(span, target) }
    }

    unsafe fn unpack<F: Format>(weights: *const u8, groups: usize, blocks: usize, target: *mut u8) {
        unsafe { unpack::<Self, F>(weights, groups, blocks, target) }
    }
}

#[cfg(target_arch = "x86_64")]
instruction_set!(super::x86::Avx512, "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c");
#[cfg(target_arch = "x86_64")]
instruction_set!(super::x86::Avx2<super::x86::AvxVnni>, "avxvnni,avx2,fma,f16c");
#[cfg(target_arch = "x86_64")]
instruction_set!(super::x86::Avx2<super::x86::PairSums>, "avx2,fma,f16c");
#[cfg(all(test, target_arch = "x86_64"))]
instruction_set!(super::x86::Avx2<super::x86::Avx512VlVnni>, "avx512f,avx512vl,avx512vnni,avx2,fma,f16c");

#[cfg(target_arch = "aarch64")]
impl InstructionSet for Neon<0, 4> {
    /// Sums of all sixteen rows with a wide tile would take more than the 32 registers: a group is passed over twice for
    /// eight rows each or four times for four, so that never more than 16 registers hold sums. All passes but the first
    /// find the group in the first-level cache.
    #[target_feature(enable = "neon,dotprod")]
    unsafe fn accumulate<F: Format, const T: usize>(mut span: Span, target: *mut f32) {
        let chains = if two_chains::<F, T>() { 2 * T } else { T };
        unsafe {
            if chains <= 4 {
                return accumulate::<Self, F, T>(span, target);
            }
            for _ in 0..span.groups {
                let group = Span { groups: 1, ..span };
                if chains <= 8 {
                    accumulate::<Neon<0, 2>, F, T>(group, target);
                    accumulate::<Neon<2, 2>, F, T>(group, target);
                } else {
                    accumulate::<Neon<0, 1>, F, T>(group, target);
                    accumulate::<Neon<1, 1>, F, T>(group, target);
                    accumulate::<Neon<2, 1>, F, T>(group, target);
                    accumulate::<Neon<3, 1>, F, T>(group, target);
                }
                span.weights = span.weights.add(F::group_bytes(span.blocks));
                span.activations = span.activations.add(BLOCK_BYTES * T * span.blocks);
                span.scales = span.scales.add(T);
            }
        }
    }

    #[target_feature(enable = "neon,dotprod")]
    unsafe fn unpack<F: Format>(weights: *const u8, groups: usize, blocks: usize, target: *mut u8) {
        unsafe { unpack::<Self, F>(weights, groups, blocks, target) }
    }
}
