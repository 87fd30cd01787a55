//! 64-bit ARM: NEON with the dot products of Armv8.2.
//!
//! Run under emulation only (`qemu-aarch64`), where all results were the same bits as those of the portable code. Nothing
//! here has been measured.

use std::arch::aarch64::*;
use std::arch::asm;

use super::simd::Simd;

/// NEON and its dot products. Four registers hold sixteen rows; these are `COUNT` of them from `FIRST` on. Pointers are still
/// to what all sixteen rows have. `Neon<0, 4>` is the whole, and the instruction set that is chosen.
#[derive(Clone, Copy)]
pub(super) struct Neon<const FIRST: usize, const COUNT: usize>;

/// Adds four products of signed bytes per lane.
///
/// The intrinsic `vdotq_s32` is not stable (<https://github.com/rust-lang/rust/issues/117224>).
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn dot(mut sums: int32x4_t, weights: int8x16_t, activations: int8x16_t) -> int32x4_t {
    // SAFETY: the function's target features have the instruction, which touches its operands only.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {activations:v}.16b",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            activations = in(vreg) activations,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}

/// [`dot`] with the four activations of lane `LANE` in every lane.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn dot_lane<const LANE: usize>(mut sums: int32x4_t, weights: int8x16_t, activations: int8x16_t) -> int32x4_t {
    // SAFETY: as above.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {activations:v}.4b[{lane}]",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            activations = in(vreg) activations,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}

/// Weights that stand for themselves minus 128, as signed bytes.
#[inline(always)]
unsafe fn signed<const COUNT: usize>(weights: [uint8x16_t; COUNT]) -> [uint8x16_t; COUNT] {
    weights.map(|weights| unsafe { veorq_u8(weights, vdupq_n_u8(0x80)) })
}

impl<const FIRST: usize, const COUNT: usize> Neon<FIRST, COUNT> {
    /// Four elements of `E` for each register.
    #[inline(always)]
    unsafe fn fours<E: Copy>(source: *const E) -> [[E; 4]; COUNT] {
        unsafe { source.add(4 * FIRST).cast::<[[E; 4]; COUNT]>().read_unaligned() }
    }
}

impl<const FIRST: usize, const COUNT: usize> Simd for Neon<FIRST, COUNT> {
    type Bytes = [uint8x16_t; COUNT];
    type Sums = [int32x4_t; COUNT];
    type Floats = [float32x4_t; COUNT];

    #[inline(always)]
    unsafe fn load(source: *const u8) -> Self::Bytes {
        unsafe { source.add(16 * FIRST).cast::<Self::Bytes>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(target: *mut u8, bytes: Self::Bytes) {
        unsafe { target.add(16 * FIRST).cast::<Self::Bytes>().write_unaligned(bytes) }
    }

    #[inline(always)]
    unsafe fn shift_right<const SHIFT: u32, const MASK: i8>(bytes: Self::Bytes) -> Self::Bytes {
        bytes.map(|bytes| unsafe {
            // The shift by a register goes left by a signed number; with a constant it becomes one by an immediate.
            vandq_u8(vshlq_u8(bytes, vdupq_n_s8(-(SHIFT as i8))), vdupq_n_u8(MASK as u8))
        })
    }

    #[inline(always)]
    unsafe fn shift_left<const SHIFT: u32, const MASK: i8>(bytes: Self::Bytes) -> Self::Bytes {
        bytes.map(|bytes| unsafe { vandq_u8(vshlq_u8(bytes, vdupq_n_s8(SHIFT as i8)), vdupq_n_u8(MASK as u8)) })
    }

    #[inline(always)]
    unsafe fn or(mut a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        a.iter_mut().zip(b).for_each(|(a, b)| *a = unsafe { vorrq_u8(*a, b) });
        a
    }

    #[inline(always)]
    unsafe fn plain_start() -> Self::Sums {
        unsafe { [vdupq_n_s32(0); COUNT] }
    }

    #[inline(always)]
    unsafe fn plain_dot(mut sums: Self::Sums, weights: Self::Bytes, activations: *const i8) -> Self::Sums {
        unsafe {
            let activations = vreinterpretq_s8_s32(vdupq_n_s32(activations.cast::<i32>().read_unaligned()));
            for register in 0..COUNT {
                sums[register] = dot(sums[register], vreinterpretq_s8_u8(weights[register]), activations);
            }
        }
        sums
    }

    /// The weights are made signed: nothing is left to correct.
    #[inline(always)]
    unsafe fn offset_start(_correction: *const i32) -> Self::Sums {
        unsafe { Self::plain_start() }
    }

    #[inline(always)]
    unsafe fn offset_dot(sums: Self::Sums, weights: Self::Bytes, activations: *const i8) -> Self::Sums {
        unsafe { Self::plain_dot(sums, signed(weights), activations) }
    }

    /// A register of activations serves four rows.
    #[inline(always)]
    unsafe fn dots<const OFFSET: bool, const T: usize>(
        sums: &mut [Self::Sums; T],
        weights: Self::Bytes,
        activations: *const i8,
    ) {
        unsafe {
            let weights = if OFFSET { signed(weights) } else { weights };
            let (fours, rest) = sums.as_chunks_mut::<4>();
            let first_of_rest = 4 * fours.len();
            for (four, sums) in fours.iter_mut().enumerate() {
                let activations = vld1q_s8(activations.add(16 * four));
                for register in 0..COUNT {
                    let weights = vreinterpretq_s8_u8(weights[register]);
                    sums[0][register] = dot_lane::<0>(sums[0][register], weights, activations);
                    sums[1][register] = dot_lane::<1>(sums[1][register], weights, activations);
                    sums[2][register] = dot_lane::<2>(sums[2][register], weights, activations);
                    sums[3][register] = dot_lane::<3>(sums[3][register], weights, activations);
                }
            }
            for (row, sums) in rest.iter_mut().enumerate() {
                *sums = Self::plain_dot(*sums, weights, activations.add(4 * (first_of_rest + row)));
            }
        }
    }

    #[inline(always)]
    unsafe fn add_sums(mut a: Self::Sums, b: Self::Sums) -> Self::Sums {
        a.iter_mut().zip(b).for_each(|(a, b)| *a = unsafe { vaddq_s32(*a, b) });
        a
    }

    #[inline(always)]
    unsafe fn to_floats(sums: Self::Sums) -> Self::Floats {
        sums.map(|sums| unsafe { vcvtq_f32_s32(sums) })
    }

    #[inline(always)]
    unsafe fn zero() -> Self::Floats {
        unsafe { [vdupq_n_f32(0.0); COUNT] }
    }

    #[inline(always)]
    unsafe fn load_floats(source: *const f32) -> Self::Floats {
        unsafe { source.add(4 * FIRST).cast::<Self::Floats>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store_floats(target: *mut f32, floats: Self::Floats) {
        unsafe { target.add(4 * FIRST).cast::<Self::Floats>().write_unaligned(floats) }
    }

    #[inline(always)]
    unsafe fn load_halves(source: *const u8) -> Self::Floats {
        unsafe {
            Self::fours(source.cast::<u16>()).map(|bits| vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(bits.as_ptr()))))
        }
    }

    #[inline(always)]
    unsafe fn load_unsigned(source: *const u8) -> Self::Floats {
        unsafe {
            Self::fours(source).map(|bytes| {
                let bytes = vcreate_u8(u64::from(u32::from_le_bytes(bytes)));
                vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))))
            })
        }
    }

    #[inline(always)]
    unsafe fn load_signed(source: *const u8) -> Self::Floats {
        unsafe {
            Self::fours(source).map(|bytes| {
                let bytes = vcreate_s8(u64::from(u32::from_le_bytes(bytes)));
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))))
            })
        }
    }

    #[inline(always)]
    unsafe fn splat(source: *const f32) -> Self::Floats {
        unsafe { [vdupq_n_f32(source.read_unaligned()); COUNT] }
    }

    #[inline(always)]
    unsafe fn multiply(mut a: Self::Floats, b: Self::Floats) -> Self::Floats {
        a.iter_mut().zip(b).for_each(|(a, b)| *a = unsafe { vmulq_f32(*a, b) });
        a
    }

    #[inline(always)]
    unsafe fn multiply_add(a: Self::Floats, b: Self::Floats, mut c: Self::Floats) -> Self::Floats {
        c.iter_mut().zip(a).zip(b).for_each(|((c, a), b)| *c = unsafe { vfmaq_f32(*c, a, b) });
        c
    }

    #[inline(always)]
    unsafe fn multiply_subtract(a: Self::Floats, b: Self::Floats, mut c: Self::Floats) -> Self::Floats {
        c.iter_mut().zip(a).zip(b).for_each(|((c, a), b)| *c = unsafe { vfmsq_f32(*c, a, b) });
        c
    }

    /// The intrinsic `_prefetch` is not stable (<https://github.com/rust-lang/rust/issues/117217>).
    #[inline(always)]
    unsafe fn prefetch(source: *const u8) {
        unsafe {
            asm!("prfm pldl1keep, [{source}]", source = in(reg) source, options(readonly, nostack, preserves_flags));
        }
    }
}
