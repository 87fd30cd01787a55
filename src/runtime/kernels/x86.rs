//! x86-64: AVX-512 with VNNI, and AVX2 with and without AVX-VNNI.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::simd::Simd;

/// AVX-512 F, BW, VL and VNNI: one register holds sixteen rows.
#[derive(Clone, Copy)]
pub(super) struct Avx512;

#[inline(always)]
unsafe fn four(activations: *const i8) -> i32 {
    unsafe { activations.cast::<i32>().read_unaligned() }
}

impl Simd for Avx512 {
    type Bytes = __m512i;
    type Sums = __m512i;
    type Floats = __m512;

    #[inline(always)]
    unsafe fn load(source: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(source.cast()) }
    }

    #[inline(always)]
    unsafe fn store(target: *mut u8, bytes: __m512i) {
        unsafe { _mm512_storeu_si512(target.cast(), bytes) }
    }

    #[inline(always)]
    unsafe fn shift_right<const SHIFT: u32, const MASK: i8>(bytes: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(_mm512_srli_epi16::<SHIFT>(bytes), _mm512_set1_epi8(MASK)) }
    }

    #[inline(always)]
    unsafe fn shift_left<const SHIFT: u32, const MASK: i8>(bytes: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(_mm512_slli_epi16::<SHIFT>(bytes), _mm512_set1_epi8(MASK)) }
    }

    #[inline(always)]
    unsafe fn or(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(a, b) }
    }

    #[inline(always)]
    unsafe fn plain_start() -> __m512i {
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn plain_dot(sums: __m512i, weights: __m512i, activations: *const i8) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(sums, weights, _mm512_set1_epi32(four(activations))) }
    }

    #[inline(always)]
    unsafe fn offset_start(correction: *const i32) -> __m512i {
        unsafe { _mm512_set1_epi32(correction.read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn offset_dot(sums: __m512i, weights: __m512i, activations: *const i8) -> __m512i {
        unsafe { Self::plain_dot(sums, weights, activations) }
    }

    #[inline(always)]
    unsafe fn add_sums(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_add_epi32(a, b) }
    }

    #[inline(always)]
    unsafe fn to_floats(sums: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(sums) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load_floats(source: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(source) }
    }

    #[inline(always)]
    unsafe fn store_floats(target: *mut f32, floats: __m512) {
        unsafe { _mm512_storeu_ps(target, floats) }
    }

    #[inline(always)]
    unsafe fn load_halves(source: *const u8) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(source.cast())) }
    }

    #[inline(always)]
    unsafe fn load_unsigned(source: *const u8) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(source.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_signed(source: *const u8) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(source.cast()))) }
    }

    #[inline(always)]
    unsafe fn splat(source: *const f32) -> __m512 {
        unsafe { _mm512_set1_ps(source.read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn multiply(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn multiply_subtract(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn prefetch(source: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(source.cast()) }
    }
}

/// AVX2, FMA and F16C: two registers hold sixteen rows. `D` is what the processor has for dot products.
#[derive(Clone, Copy)]
pub(super) struct Avx2<D>(PhantomData<D>);

/// Sums of four products of bytes per 32-bit lane. Safety and arithmetic are those of [`Simd`].
pub(super) trait Dot: Copy {
    unsafe fn plain(sums: __m256i, weights: __m256i, activations: __m256i) -> __m256i;
    unsafe fn offset_start(correction: *const i32) -> __m256i;
    unsafe fn offset(sums: __m256i, weights: __m256i, activations: __m256i) -> __m256i;
}

/// AVX2 alone: products are added in pairs of 16 bits, and these in pairs again.
#[derive(Clone, Copy)]
pub(super) struct PairSums;

impl Dot for PairSums {
    /// `weights` are at most 128, so that two products fit 16 bits.
    #[inline(always)]
    unsafe fn plain(sums: __m256i, weights: __m256i, activations: __m256i) -> __m256i {
        unsafe {
            let pairs = _mm256_maddubs_epi16(weights, activations);
            _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }

    #[inline(always)]
    unsafe fn offset_start(_correction: *const i32) -> __m256i {
        unsafe { _mm256_setzero_si256() }
    }

    /// Bytes of up to 255 would overflow the 16-bit sums of pairs: the weights are made signed, and their sign moves to the
    /// activations.
    #[inline(always)]
    unsafe fn offset(sums: __m256i, weights: __m256i, activations: __m256i) -> __m256i {
        unsafe {
            let signed = _mm256_xor_si256(weights, _mm256_set1_epi8(-128));
            Self::plain(sums, _mm256_abs_epi8(signed), _mm256_sign_epi8(activations, signed))
        }
    }
}

/// An instruction for all of it.
macro_rules! vnni {
    ($(#[$attribute:meta])* $name:ident, $dot:ident) => {
        $(#[$attribute])*
        #[derive(Clone, Copy)]
        pub(super) struct $name;

        $(#[$attribute])*
        impl Dot for $name {
            #[inline(always)]
            unsafe fn plain(sums: __m256i, weights: __m256i, activations: __m256i) -> __m256i {
                unsafe { $dot(sums, weights, activations) }
            }

            #[inline(always)]
            unsafe fn offset_start(correction: *const i32) -> __m256i {
                unsafe { _mm256_set1_epi32(correction.read_unaligned()) }
            }

            #[inline(always)]
            unsafe fn offset(sums: __m256i, weights: __m256i, activations: __m256i) -> __m256i {
                unsafe { Self::plain(sums, weights, activations) }
            }
        }
    };
}

vnni!(
    /// AVX-VNNI: client processors from 2021 on, most of them without AVX-512. Tested by way of `Avx512VlVnni` only.
    AvxVnni,
    _mm256_dpbusd_avx_epi32
);
vnni!(
    /// The same instruction as AVX-512 VL encodes it.
    #[cfg(test)]
    Avx512VlVnni,
    _mm256_dpbusd_epi32
);

impl<D: Dot> Simd for Avx2<D> {
    type Bytes = [__m256i; 2];
    type Sums = [__m256i; 2];
    type Floats = [__m256; 2];

    #[inline(always)]
    unsafe fn load(source: *const u8) -> [__m256i; 2] {
        unsafe { [_mm256_loadu_si256(source.cast()), _mm256_loadu_si256(source.add(32).cast())] }
    }

    #[inline(always)]
    unsafe fn store(target: *mut u8, bytes: [__m256i; 2]) {
        unsafe {
            _mm256_storeu_si256(target.cast(), bytes[0]);
            _mm256_storeu_si256(target.add(32).cast(), bytes[1]);
        }
    }

    #[inline(always)]
    unsafe fn shift_right<const SHIFT: u32, const MASK: i8>(bytes: [__m256i; 2]) -> [__m256i; 2] {
        unsafe {
            let (count, mask) = (_mm_cvtsi32_si128(SHIFT as i32), _mm256_set1_epi8(MASK));
            [
                _mm256_and_si256(_mm256_srl_epi16(bytes[0], count), mask),
                _mm256_and_si256(_mm256_srl_epi16(bytes[1], count), mask),
            ]
        }
    }

    #[inline(always)]
    unsafe fn shift_left<const SHIFT: u32, const MASK: i8>(bytes: [__m256i; 2]) -> [__m256i; 2] {
        unsafe {
            let (count, mask) = (_mm_cvtsi32_si128(SHIFT as i32), _mm256_set1_epi8(MASK));
            [
                _mm256_and_si256(_mm256_sll_epi16(bytes[0], count), mask),
                _mm256_and_si256(_mm256_sll_epi16(bytes[1], count), mask),
            ]
        }
    }

    #[inline(always)]
    unsafe fn or(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        unsafe { [_mm256_or_si256(a[0], b[0]), _mm256_or_si256(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn plain_start() -> [__m256i; 2] {
        unsafe { [_mm256_setzero_si256(); 2] }
    }

    #[inline(always)]
    unsafe fn plain_dot(sums: [__m256i; 2], weights: [__m256i; 2], activations: *const i8) -> [__m256i; 2] {
        unsafe {
            let activations = _mm256_set1_epi32(four(activations));
            [D::plain(sums[0], weights[0], activations), D::plain(sums[1], weights[1], activations)]
        }
    }

    #[inline(always)]
    unsafe fn offset_start(correction: *const i32) -> [__m256i; 2] {
        unsafe { [D::offset_start(correction); 2] }
    }

    #[inline(always)]
    unsafe fn offset_dot(sums: [__m256i; 2], weights: [__m256i; 2], activations: *const i8) -> [__m256i; 2] {
        unsafe {
            let activations = _mm256_set1_epi32(four(activations));
            [D::offset(sums[0], weights[0], activations), D::offset(sums[1], weights[1], activations)]
        }
    }

    #[inline(always)]
    unsafe fn add_sums(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        unsafe { [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn to_floats(sums: [__m256i; 2]) -> [__m256; 2] {
        unsafe { [_mm256_cvtepi32_ps(sums[0]), _mm256_cvtepi32_ps(sums[1])] }
    }

    #[inline(always)]
    unsafe fn zero() -> [__m256; 2] {
        unsafe { [_mm256_setzero_ps(); 2] }
    }

    #[inline(always)]
    unsafe fn load_floats(source: *const f32) -> [__m256; 2] {
        unsafe { [_mm256_loadu_ps(source), _mm256_loadu_ps(source.add(8))] }
    }

    #[inline(always)]
    unsafe fn store_floats(target: *mut f32, floats: [__m256; 2]) {
        unsafe {
            _mm256_storeu_ps(target, floats[0]);
            _mm256_storeu_ps(target.add(8), floats[1]);
        }
    }

    #[inline(always)]
    unsafe fn load_halves(source: *const u8) -> [__m256; 2] {
        unsafe {
            [_mm256_cvtph_ps(_mm_loadu_si128(source.cast())), _mm256_cvtph_ps(_mm_loadu_si128(source.add(16).cast()))]
        }
    }

    #[inline(always)]
    unsafe fn load_unsigned(source: *const u8) -> [__m256; 2] {
        unsafe {
            [
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(source.cast()))),
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(source.add(8).cast()))),
            ]
        }
    }

    #[inline(always)]
    unsafe fn load_signed(source: *const u8) -> [__m256; 2] {
        unsafe {
            [
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(source.cast()))),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(source.add(8).cast()))),
            ]
        }
    }

    #[inline(always)]
    unsafe fn splat(source: *const f32) -> [__m256; 2] {
        unsafe { [_mm256_set1_ps(source.read_unaligned()); 2] }
    }

    #[inline(always)]
    unsafe fn multiply(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }

    #[inline(always)]
    unsafe fn multiply_subtract(a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_fnmadd_ps(a[0], b[0], c[0]), _mm256_fnmadd_ps(a[1], b[1], c[1])] }
    }

    #[inline(always)]
    unsafe fn prefetch(source: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(source.cast()) }
    }
}
