//! The vector operations that the kernels are written in, and their portable implementation.
//!
//! A kernel is one generic function; each instruction set gives it the registers of its own. What a kernel computes does not
//! depend on the choice: the integer part is exact everywhere, and the floating-point part is the same sequence of fused
//! multiply-adds.

/// Sixteen rows of a matrix side by side, one per 32-bit lane.
///
/// # Safety
/// All functions require the instruction set that the implementor names, and pointers that are valid for as many bytes as
/// the operation reads or writes. No alignment is required.
pub(super) trait Simd: Copy {
    /// 64 unsigned bytes: four inputs of each of the sixteen rows.
    type Bytes: Copy;
    /// 16 signed sums.
    type Sums: Copy;
    /// 16 floats.
    type Floats: Copy;

    /// Loads 64 bytes.
    unsafe fn load(source: *const u8) -> Self::Bytes;
    /// Stores 64 bytes.
    unsafe fn store(target: *mut u8, bytes: Self::Bytes);
    /// `(bytes >> SHIFT) & MASK`, byte by byte.
    unsafe fn shift_right<const SHIFT: u32, const MASK: i8>(bytes: Self::Bytes) -> Self::Bytes;
    /// `(bytes << SHIFT) & MASK`, byte by byte.
    unsafe fn shift_left<const SHIFT: u32, const MASK: i8>(bytes: Self::Bytes) -> Self::Bytes;
    /// `a | b`.
    unsafe fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;

    /// Sums to which products of weights that stand for themselves are added.
    unsafe fn plain_start() -> Self::Sums;
    /// Adds weights of 0..=63 times the four activations at `activations`.
    unsafe fn plain_dot(sums: Self::Sums, weights: Self::Bytes, activations: *const i8) -> Self::Sums;
    /// Sums to which products of weights that stand for themselves minus 128 are added. `correction` points to -128 times
    /// the sum of all activations that will be multiplied.
    unsafe fn offset_start(correction: *const i32) -> Self::Sums;
    /// Adds such weights times the four activations at `activations`.
    unsafe fn offset_dot(sums: Self::Sums, weights: Self::Bytes, activations: *const i8) -> Self::Sums;
    /// [`Self::offset_dot`] or [`Self::plain_dot`] of the same weights with `T` rows, whose four activations each lie side
    /// by side.
    #[inline(always)]
    unsafe fn dots<const OFFSET: bool, const T: usize>(
        sums: &mut [Self::Sums; T],
        weights: Self::Bytes,
        activations: *const i8,
    ) {
        for (row, sums) in sums.iter_mut().enumerate() {
            unsafe {
                let activations = activations.add(4 * row);
                *sums = if OFFSET {
                    Self::offset_dot(*sums, weights, activations)
                } else {
                    Self::plain_dot(*sums, weights, activations)
                };
            }
        }
    }
    /// `a + b`.
    unsafe fn add_sums(a: Self::Sums, b: Self::Sums) -> Self::Sums;
    unsafe fn to_floats(sums: Self::Sums) -> Self::Floats;

    unsafe fn zero() -> Self::Floats;
    unsafe fn load_floats(source: *const f32) -> Self::Floats;
    unsafe fn store_floats(target: *mut f32, floats: Self::Floats);
    /// 16 half-precision floats.
    unsafe fn load_halves(source: *const u8) -> Self::Floats;
    /// 16 unsigned bytes.
    unsafe fn load_unsigned(source: *const u8) -> Self::Floats;
    /// 16 signed bytes.
    unsafe fn load_signed(source: *const u8) -> Self::Floats;
    /// The float at `source` in every lane.
    unsafe fn splat(source: *const f32) -> Self::Floats;
    /// `a * b`.
    unsafe fn multiply(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c`, rounded once.
    unsafe fn multiply_add(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// `c - a * b`, rounded once.
    unsafe fn multiply_subtract(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// Asks for the cache line at `source`, which need not be valid.
    unsafe fn prefetch(source: *const u8);
}

/// Arrays; what vector code the compiler makes of them depends on the target that it compiles for.
#[derive(Clone, Copy)]
pub(super) struct Portable;

/// The four activations at a pointer.
#[inline(always)]
unsafe fn four(activations: *const i8) -> [i32; 4] {
    unsafe { activations.cast::<[i8; 4]>().read_unaligned() }.map(i32::from)
}

impl Simd for Portable {
    type Bytes = [u8; 64];
    type Sums = [i32; 16];
    type Floats = [f32; 16];

    #[inline(always)]
    unsafe fn load(source: *const u8) -> [u8; 64] {
        unsafe { source.cast::<[u8; 64]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(target: *mut u8, bytes: [u8; 64]) {
        unsafe { target.cast::<[u8; 64]>().write_unaligned(bytes) }
    }

    #[inline(always)]
    unsafe fn shift_right<const SHIFT: u32, const MASK: i8>(bytes: [u8; 64]) -> [u8; 64] {
        bytes.map(|byte| (byte >> SHIFT) & MASK as u8)
    }

    #[inline(always)]
    unsafe fn shift_left<const SHIFT: u32, const MASK: i8>(bytes: [u8; 64]) -> [u8; 64] {
        bytes.map(|byte| (byte << SHIFT) & MASK as u8)
    }

    #[inline(always)]
    unsafe fn or(mut a: [u8; 64], b: [u8; 64]) -> [u8; 64] {
        a.iter_mut().zip(b).for_each(|(a, b)| *a |= b);
        a
    }

    #[inline(always)]
    unsafe fn plain_start() -> [i32; 16] {
        [0; 16]
    }

    #[inline(always)]
    unsafe fn plain_dot(mut sums: [i32; 16], weights: [u8; 64], activations: *const i8) -> [i32; 16] {
        let activations = unsafe { four(activations) };
        let (weights, _) = weights.as_chunks::<4>();
        for (sum, weights) in sums.iter_mut().zip(weights) {
            *sum += weights.iter().zip(activations).map(|(weight, a)| i32::from(*weight) * a).sum::<i32>();
        }
        sums
    }

    #[inline(always)]
    unsafe fn offset_start(correction: *const i32) -> [i32; 16] {
        [unsafe { correction.read_unaligned() }; 16]
    }

    #[inline(always)]
    unsafe fn offset_dot(sums: [i32; 16], weights: [u8; 64], activations: *const i8) -> [i32; 16] {
        unsafe { Self::plain_dot(sums, weights, activations) }
    }

    #[inline(always)]
    unsafe fn add_sums(mut a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        a
    }

    #[inline(always)]
    unsafe fn to_floats(sums: [i32; 16]) -> [f32; 16] {
        sums.map(|sum| sum as f32)
    }

    #[inline(always)]
    unsafe fn zero() -> [f32; 16] {
        [0.0; 16]
    }

    #[inline(always)]
    unsafe fn load_floats(source: *const f32) -> [f32; 16] {
        unsafe { source.cast::<[f32; 16]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store_floats(target: *mut f32, floats: [f32; 16]) {
        unsafe { target.cast::<[f32; 16]>().write_unaligned(floats) }
    }

    #[inline(always)]
    unsafe fn load_halves(source: *const u8) -> [f32; 16] {
        unsafe { source.cast::<[u16; 16]>().read_unaligned() }.map(|bits| half::f16::from_bits(bits).to_f32())
    }

    #[inline(always)]
    unsafe fn load_unsigned(source: *const u8) -> [f32; 16] {
        unsafe { source.cast::<[u8; 16]>().read_unaligned() }.map(f32::from)
    }

    #[inline(always)]
    unsafe fn load_signed(source: *const u8) -> [f32; 16] {
        unsafe { source.cast::<[i8; 16]>().read_unaligned() }.map(f32::from)
    }

    #[inline(always)]
    unsafe fn splat(source: *const f32) -> [f32; 16] {
        [unsafe { source.read_unaligned() }; 16]
    }

    #[inline(always)]
    unsafe fn multiply(mut a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        a.iter_mut().zip(b).for_each(|(a, b)| *a *= b);
        a
    }

    #[inline(always)]
    unsafe fn multiply_add(a: [f32; 16], b: [f32; 16], mut c: [f32; 16]) -> [f32; 16] {
        c.iter_mut().zip(a).zip(b).for_each(|((c, a), b)| *c = a.mul_add(b, *c));
        c
    }

    #[inline(always)]
    unsafe fn multiply_subtract(a: [f32; 16], b: [f32; 16], mut c: [f32; 16]) -> [f32; 16] {
        c.iter_mut().zip(a).zip(b).for_each(|((c, a), b)| *c = (-a).mul_add(b, *c));
        c
    }

    #[inline(always)]
    unsafe fn prefetch(_source: *const u8) {}
}
