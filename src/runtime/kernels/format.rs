//! How packed weights lie in memory, and how a kernel reads them.
//!
//! Sixteen rows of a matrix form a *strip*. Along its inputs a strip is cut into *blocks* of 32 and those into *groups* of
//! the blocks that share an activation scale: eight (256 inputs), or fewer where the matrix is not wide enough. A group is
//! contiguous, first its scales, then the quants of its blocks, so a product reads a strip as one stream:
//!
//! ```text
//! group = header (scales and minimums of all blocks, 16 rows side by side) | block | block | …
//! block = four cells of 64 bytes | planes of further bits
//! cell p, byte 4 r + i:  row r; low nibble: input 4 p + i, high nibble: input 16 + 4 p + i
//! ```
//!
//! Eight-bit quants take eight cells, cell g holding the inputs 4 g to 4 g + 3. A plane of single bits holds at bit g of
//! byte 4 r + i the fifth bit of row r, input 4 g + i. Two planes of bit pairs hold the fifth and sixth: plane h, bits 2 p
//! and 2 p + 1, belong to input 16 h + 4 p + i.
//!
//! Quants with a minimum stand for themselves. The others are signed: they are shifted to the top of the byte and stand for
//! themselves minus 128, whatever their width, so that one correction serves all of them.

use super::simd::Simd;

/// Inputs of a block.
pub(super) const BLOCK: usize = 32;

/// Rows of a strip.
pub(super) const STRIP: usize = 16;

/// Most blocks of a group.
pub(super) const GROUP_BLOCKS: usize = 8;

/// What a kernel needs to know of a packing.
pub(super) trait Format {
    /// Bytes of one block's quants.
    const QUANTS: usize;
    /// Quants stand for themselves minus 128.
    const OFFSET: bool;
    /// Each half of a block has a scale of its own.
    const HALVES: bool;
    /// Each block has a minimum that is subtracted.
    const MINIMUM: bool;
    /// The weights come from memory rather than from a cache.
    const STREAMED: bool;

    /// What is the same for all blocks of a group.
    type Header<S: Simd>: Copy;

    /// Bytes before the quants in a group of so many blocks.
    fn header_bytes(blocks: usize) -> usize;

    /// Bytes of a group of so many blocks.
    fn group_bytes(blocks: usize) -> usize {
        Self::header_bytes(blocks) + blocks * Self::QUANTS
    }

    unsafe fn header<S: Simd>(group: *const u8) -> Self::Header<S>;
    /// Scale of a block, or of half a block where [`Self::HALVES`].
    unsafe fn scale<S: Simd>(header: Self::Header<S>, group: *const u8, index: usize) -> S::Floats;
    /// What is subtracted from all weights of a block, where [`Self::MINIMUM`].
    unsafe fn minimum<S: Simd>(header: Self::Header<S>, group: *const u8, blocks: usize, block: usize) -> S::Floats;
    /// The weights of inputs `4 PAIR ..` and `16 + 4 PAIR ..` of a block.
    unsafe fn pair<S: Simd, const PAIR: usize>(quants: *const u8) -> (S::Bytes, S::Bytes);
}

#[inline(always)]
unsafe fn nibbles<S: Simd, const PAIR: usize>(quants: *const u8) -> (S::Bytes, S::Bytes) {
    unsafe {
        let cell = S::load(quants.add(64 * PAIR));
        (S::shift_right::<0, 0x0f>(cell), S::shift_right::<4, 0x0f>(cell))
    }
}

/// Nibbles with a plane of fifth bits behind them.
#[inline(always)]
unsafe fn five_bits<S: Simd, const PAIR: usize>(quants: *const u8) -> (S::Bytes, S::Bytes) {
    unsafe {
        let (low, high) = nibbles::<S, PAIR>(quants);
        let plane = S::load(quants.add(256));
        // Bits PAIR and PAIR + 4 move to bit 4.
        let (low_bit, high_bit) = match PAIR {
            0 => (S::shift_left::<4, 0x10>(plane), S::shift_right::<0, 0x10>(plane)),
            1 => (S::shift_left::<3, 0x10>(plane), S::shift_right::<1, 0x10>(plane)),
            2 => (S::shift_left::<2, 0x10>(plane), S::shift_right::<2, 0x10>(plane)),
            _ => (S::shift_left::<1, 0x10>(plane), S::shift_right::<3, 0x10>(plane)),
        };
        (S::or(low, low_bit), S::or(high, high_bit))
    }
}

/// Four or five bits, an 8-bit scale and minimum per block, a half-precision factor for each per group (Q4_K, Q5_K).
pub(super) struct Scaled<const BITS: usize>;

impl<const BITS: usize> Format for Scaled<BITS> {
    const QUANTS: usize = if BITS == 4 { 256 } else { 320 };
    const OFFSET: bool = false;
    const HALVES: bool = false;
    const MINIMUM: bool = true;
    const STREAMED: bool = true;

    type Header<S: Simd> = (S::Floats, S::Floats);

    /// Factors of scales and of minimums, scales, minimums.
    fn header_bytes(blocks: usize) -> usize {
        64 + 2 * STRIP * blocks
    }

    #[inline(always)]
    unsafe fn header<S: Simd>(group: *const u8) -> (S::Floats, S::Floats) {
        unsafe { (S::load_halves(group), S::load_halves(group.add(32))) }
    }

    #[inline(always)]
    unsafe fn scale<S: Simd>((factor, _): Self::Header<S>, group: *const u8, index: usize) -> S::Floats {
        unsafe { S::multiply(factor, S::load_unsigned(group.add(64 + STRIP * index))) }
    }

    #[inline(always)]
    unsafe fn minimum<S: Simd>(header: Self::Header<S>, group: *const u8, blocks: usize, block: usize) -> S::Floats {
        unsafe { S::multiply(header.1, S::load_unsigned(group.add(64 + STRIP * (blocks + block)))) }
    }

    #[inline(always)]
    unsafe fn pair<S: Simd, const PAIR: usize>(quants: *const u8) -> (S::Bytes, S::Bytes) {
        unsafe { if BITS == 4 { nibbles::<S, PAIR>(quants) } else { five_bits::<S, PAIR>(quants) } }
    }
}

/// Six bits, a signed 8-bit scale per half block, a half-precision factor per group (Q6_K).
pub(super) struct SixBits;

impl Format for SixBits {
    const QUANTS: usize = 384;
    const OFFSET: bool = true;
    const HALVES: bool = true;
    const MINIMUM: bool = false;
    const STREAMED: bool = true;

    type Header<S: Simd> = S::Floats;

    fn header_bytes(blocks: usize) -> usize {
        (32 + 2 * STRIP * blocks).next_multiple_of(64)
    }

    #[inline(always)]
    unsafe fn header<S: Simd>(group: *const u8) -> S::Floats {
        unsafe { S::multiply(S::load_halves(group), S::splat(&0.25)) }
    }

    #[inline(always)]
    unsafe fn scale<S: Simd>(factor: S::Floats, group: *const u8, index: usize) -> S::Floats {
        unsafe { S::multiply(factor, S::load_signed(group.add(32 + STRIP * index))) }
    }

    #[inline(always)]
    unsafe fn minimum<S: Simd>(_: S::Floats, _: *const u8, _: usize, _: usize) -> S::Floats {
        unsafe { S::zero() }
    }

    /// Four times the quants.
    #[inline(always)]
    unsafe fn pair<S: Simd, const PAIR: usize>(quants: *const u8) -> (S::Bytes, S::Bytes) {
        unsafe {
            let cell = S::load(quants.add(64 * PAIR));
            let (low, high) = (S::shift_left::<2, 0x3c>(cell), S::shift_right::<2, 0x3c>(cell));
            let (first, second) = (S::load(quants.add(256)), S::load(quants.add(320)));
            // Bits 2 PAIR and 2 PAIR + 1 move to bits 6 and 7.
            let (low_bits, high_bits) = match PAIR {
                0 => (S::shift_left::<6, { 0xc0_u8 as i8 }>(first), S::shift_left::<6, { 0xc0_u8 as i8 }>(second)),
                1 => (S::shift_left::<4, { 0xc0_u8 as i8 }>(first), S::shift_left::<4, { 0xc0_u8 as i8 }>(second)),
                2 => (S::shift_left::<2, { 0xc0_u8 as i8 }>(first), S::shift_left::<2, { 0xc0_u8 as i8 }>(second)),
                _ => (S::shift_left::<0, { 0xc0_u8 as i8 }>(first), S::shift_left::<0, { 0xc0_u8 as i8 }>(second)),
            };
            (S::or(low, low_bits), S::or(high, high_bits))
        }
    }
}

/// Four, five or eight signed bits and a half-precision scale per block (Q4_0, Q5_0, Q8_0).
pub(super) struct Signed<const BITS: usize>;

impl<const BITS: usize> Format for Signed<BITS> {
    const QUANTS: usize = if BITS == 4 {
        256
    } else if BITS == 5 {
        320
    } else {
        512
    };
    const OFFSET: bool = true;
    const HALVES: bool = false;
    const MINIMUM: bool = false;
    const STREAMED: bool = true;

    type Header<S: Simd> = S::Floats;

    fn header_bytes(blocks: usize) -> usize {
        (2 * STRIP * blocks).next_multiple_of(64)
    }

    /// What the shift of the quants to the top of the byte has to be divided by.
    #[inline(always)]
    unsafe fn header<S: Simd>(_: *const u8) -> S::Floats {
        let shifted = if BITS == 4 {
            0.0625
        } else if BITS == 5 {
            0.125
        } else {
            1.0
        };
        unsafe { S::splat(&shifted) }
    }

    #[inline(always)]
    unsafe fn scale<S: Simd>(shift: S::Floats, group: *const u8, index: usize) -> S::Floats {
        unsafe { S::multiply(shift, S::load_halves(group.add(2 * STRIP * index))) }
    }

    #[inline(always)]
    unsafe fn minimum<S: Simd>(_: S::Floats, _: *const u8, _: usize, _: usize) -> S::Floats {
        unsafe { S::zero() }
    }

    #[inline(always)]
    unsafe fn pair<S: Simd, const PAIR: usize>(quants: *const u8) -> (S::Bytes, S::Bytes) {
        unsafe {
            if BITS == 8 {
                return (S::load(quants.add(64 * PAIR)), S::load(quants.add(256 + 64 * PAIR)));
            }
            let cell = S::load(quants.add(64 * PAIR));
            if BITS == 4 {
                return (S::shift_left::<4, { 0xf0_u8 as i8 }>(cell), S::shift_right::<0, { 0xf0_u8 as i8 }>(cell));
            }
            let (low, high) = (S::shift_left::<3, 0x78>(cell), S::shift_right::<1, 0x78>(cell));
            let plane = S::load(quants.add(256));
            // Bits PAIR and PAIR + 4 move to bit 7.
            let (low_bit, high_bit) = match PAIR {
                0 => (S::shift_left::<7, { 0x80_u8 as i8 }>(plane), S::shift_left::<3, { 0x80_u8 as i8 }>(plane)),
                1 => (S::shift_left::<6, { 0x80_u8 as i8 }>(plane), S::shift_left::<2, { 0x80_u8 as i8 }>(plane)),
                2 => (S::shift_left::<5, { 0x80_u8 as i8 }>(plane), S::shift_left::<1, { 0x80_u8 as i8 }>(plane)),
                _ => (S::shift_left::<4, { 0x80_u8 as i8 }>(plane), S::shift_left::<0, { 0x80_u8 as i8 }>(plane)),
            };
            (S::or(low, low_bit), S::or(high, high_bit))
        }
    }
}

/// Four or five bits, a half-precision scale and minimum per block (Q4_1, Q5_1).
pub(super) struct Shifted<const BITS: usize>;

impl<const BITS: usize> Format for Shifted<BITS> {
    const QUANTS: usize = if BITS == 4 { 256 } else { 320 };
    const OFFSET: bool = false;
    const HALVES: bool = false;
    const MINIMUM: bool = true;
    const STREAMED: bool = true;

    type Header<S: Simd> = ();

    fn header_bytes(blocks: usize) -> usize {
        4 * STRIP * blocks
    }

    #[inline(always)]
    unsafe fn header<S: Simd>(_: *const u8) {}

    #[inline(always)]
    unsafe fn scale<S: Simd>((): (), group: *const u8, index: usize) -> S::Floats {
        unsafe { S::load_halves(group.add(2 * STRIP * index)) }
    }

    /// Kept negated: these files add it.
    #[inline(always)]
    unsafe fn minimum<S: Simd>((): (), group: *const u8, blocks: usize, block: usize) -> S::Floats {
        unsafe { S::load_halves(group.add(2 * STRIP * (blocks + block))) }
    }

    #[inline(always)]
    unsafe fn pair<S: Simd, const PAIR: usize>(quants: *const u8) -> (S::Bytes, S::Bytes) {
        unsafe { if BITS == 4 { nibbles::<S, PAIR>(quants) } else { five_bits::<S, PAIR>(quants) } }
    }
}

/// A group taken apart for use with many rows of activations: scales and minimums as floats, one byte per weight in the
/// order of the inputs.
pub(super) struct Unpacked<const OFFSET: bool, const HALVES: bool>;

impl<const OFFSET: bool, const HALVES: bool> Format for Unpacked<OFFSET, HALVES> {
    const QUANTS: usize = STRIP * BLOCK;
    const OFFSET: bool = OFFSET;
    const HALVES: bool = HALVES;
    const MINIMUM: bool = !OFFSET;
    const STREAMED: bool = false;

    type Header<S: Simd> = ();

    fn header_bytes(blocks: usize) -> usize {
        let floats = if HALVES || !OFFSET { 2 } else { 1 };
        floats * 4 * STRIP * blocks
    }

    #[inline(always)]
    unsafe fn header<S: Simd>(_: *const u8) {}

    #[inline(always)]
    unsafe fn scale<S: Simd>((): (), group: *const u8, index: usize) -> S::Floats {
        unsafe { S::load_floats(group.add(4 * STRIP * index).cast()) }
    }

    #[inline(always)]
    unsafe fn minimum<S: Simd>((): (), group: *const u8, blocks: usize, block: usize) -> S::Floats {
        unsafe { S::load_floats(group.add(4 * STRIP * (blocks + block)).cast()) }
    }

    #[inline(always)]
    unsafe fn pair<S: Simd, const PAIR: usize>(quants: *const u8) -> (S::Bytes, S::Bytes) {
        unsafe { (S::load(quants.add(64 * PAIR)), S::load(quants.add(256 + 64 * PAIR))) }
    }
}
