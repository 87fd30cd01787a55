//! Quantized matrices, repacked for the kernels, and the reading of GGUF's quantized blocks.

use std::sync::Arc;

use candle_core::quantized::GgmlDType;

use super::KernelError;
use super::activations::group_blocks;
use super::format::{BLOCK, Format, STRIP, Scaled, Shifted, Signed, SixBits};
use super::memory::WeightMemory;
use super::strip::{InstructionSet, StripKernels, UnpackedHalves, UnpackedOffset, UnpackedPlain};
use crate::runtime::model::parallel;

/// How a matrix is packed; named after the file's types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

impl Packing {
    /// The packing of a file's type, where there is one.
    pub fn of(dtype: GgmlDType) -> Option<Self> {
        Some(match dtype {
            GgmlDType::Q4_0 => Self::Q4_0,
            GgmlDType::Q4_1 => Self::Q4_1,
            GgmlDType::Q5_0 => Self::Q5_0,
            GgmlDType::Q5_1 => Self::Q5_1,
            GgmlDType::Q8_0 => Self::Q8_0,
            GgmlDType::Q4K => Self::Q4K,
            GgmlDType::Q5K => Self::Q5K,
            GgmlDType::Q6K => Self::Q6K,
            _ => return None,
        })
    }

    /// Inputs per block of the file and bytes that they take there.
    fn file_block(self) -> (usize, usize) {
        match self {
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
        }
    }

    pub fn kernels<S: InstructionSet>(self) -> StripKernels {
        match self {
            Self::Q4_0 => S::kernels::<Signed<4>, UnpackedOffset>(),
            Self::Q4_1 => S::kernels::<Shifted<4>, UnpackedPlain>(),
            Self::Q5_0 => S::kernels::<Signed<5>, UnpackedOffset>(),
            Self::Q5_1 => S::kernels::<Shifted<5>, UnpackedPlain>(),
            Self::Q8_0 => S::kernels::<Signed<8>, UnpackedOffset>(),
            Self::Q4K => S::kernels::<Scaled<4>, UnpackedPlain>(),
            Self::Q5K => S::kernels::<Scaled<5>, UnpackedPlain>(),
            Self::Q6K => S::kernels::<SixBits, UnpackedHalves>(),
        }
    }

    fn header_bytes(self, blocks: usize) -> usize {
        match self {
            Self::Q4_0 => Signed::<4>::header_bytes(blocks),
            Self::Q4_1 => Shifted::<4>::header_bytes(blocks),
            Self::Q5_0 => Signed::<5>::header_bytes(blocks),
            Self::Q5_1 => Shifted::<5>::header_bytes(blocks),
            Self::Q8_0 => Signed::<8>::header_bytes(blocks),
            Self::Q4K => Scaled::<4>::header_bytes(blocks),
            Self::Q5K => Scaled::<5>::header_bytes(blocks),
            Self::Q6K => SixBits::header_bytes(blocks),
        }
    }

    /// Bytes of a block's quants.
    fn quants(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q4K => 256,
            Self::Q5_0 | Self::Q5_1 | Self::Q5K => 320,
            Self::Q6K => 384,
            Self::Q8_0 => 512,
        }
    }

    fn bits(self) -> u32 {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q4K => 4,
            Self::Q5_0 | Self::Q5_1 | Self::Q5K => 5,
            Self::Q6K => 6,
            Self::Q8_0 => 8,
        }
    }
}

/// A quantized matrix of `[outputs, inputs]` in the layout of [`super::format`].
pub struct PackedMatrix {
    pub(super) packing: Packing,
    outputs: usize,
    inputs: usize,
    strip_bytes: usize,
    /// Where strips begin: the first, and how far apart.
    start: usize,
    stride: usize,
    memory: Arc<WeightMemory>,
}

/// A quantized matrix as it lies in a GGUF file: row by row, each a sequence of blocks of `dtype`.
#[derive(Clone, Copy)]
pub struct FileMatrix<'a> {
    pub dtype: GgmlDType,
    pub outputs: usize,
    pub inputs: usize,
    pub bytes: &'a [u8],
}

impl PackedMatrix {
    /// Whether matrices of this type and width can be packed.
    pub fn supports(dtype: GgmlDType, inputs: usize) -> bool {
        Packing::of(dtype).is_some_and(|packing| inputs > 0 && inputs.is_multiple_of(packing.file_block().0))
    }

    /// Repacks a matrix.
    ///
    /// # Errors
    /// The type or width is not supported, the bytes have not the size that the shape calls for, or there is no memory.
    pub fn pack(matrix: FileMatrix<'_>) -> Result<Self, KernelError> {
        let [packed] = Self::pack_together([matrix])?;
        Ok(packed)
    }

    /// Repacks matrices of as many rows whose strips are used in turn, such as gate and up: their strips alternate in
    /// memory, so that a product with all of them reads one stream.
    ///
    /// # Errors
    /// As for [`Self::pack`], and when their rows are not as many.
    pub fn pack_together<const N: usize>(matrices: [FileMatrix<'_>; N]) -> Result<[Self; N], KernelError> {
        let packers: Vec<Packer<'_>> = matrices.into_iter().map(Packer::new).collect::<Result<_, _>>()?;
        let outputs = matrices.first().map_or(0, |matrix| matrix.outputs);
        if let Some(other) = packers.iter().find(|packer| packer.matrix.outputs != outputs) {
            return Err(other.matrix.wrong_size());
        }
        let stride = packers.iter().map(|packer| packer.strip_bytes).sum::<usize>();
        let memory = WeightMemory::filled(outputs.div_ceil(STRIP) * stride, |memory| {
            let parts = memory.chunks_exact_mut(stride).enumerate().collect();
            parallel::for_each(parts, |(strip, mut target): (usize, &mut [u8])| {
                for packer in &packers {
                    let (part, rest) = target.split_at_mut(packer.strip_bytes);
                    packer.pack_strip(strip, part);
                    target = rest;
                }
            });
        });
        let memory = Arc::new(memory.map_err(KernelError::Memory)?);
        let mut next = 0;
        Ok(std::array::from_fn(|index| {
            let Packer { matrix, packing, strip_bytes, .. } = &packers[index];
            let start = next;
            next += strip_bytes;
            let FileMatrix { outputs, inputs, .. } = *matrix;
            Self {
                packing: *packing,
                outputs,
                inputs,
                strip_bytes: *strip_bytes,
                start,
                stride,
                memory: Arc::clone(&memory),
            }
        }))
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.strips() * self.strip_bytes
    }

    pub(super) fn strips(&self) -> usize {
        self.outputs.div_ceil(STRIP)
    }

    pub(super) fn strip(&self, index: usize) -> &[u8] {
        let start = self.start + index * self.stride;
        &self.memory.as_slice()[start..start + self.strip_bytes]
    }
}

/// What repacking needs to know.
struct Packer<'a> {
    matrix: FileMatrix<'a>,
    packing: Packing,
    /// Blocks of a group.
    per_group: usize,
    /// Bytes of a row in the file.
    row_bytes: usize,
    strip_bytes: usize,
}

impl FileMatrix<'_> {
    fn wrong_size(&self) -> KernelError {
        KernelError::Size { outputs: self.outputs, inputs: self.inputs, bytes: self.bytes.len() }
    }
}

/// One row's share of a group: quants as small unsigned numbers and what the header holds of them.
#[derive(Default)]
struct RowGroup {
    quants: [[u8; BLOCK]; 8],
    /// Of the whole group, or of each block.
    factors: [[u8; 2]; 8],
    minimums: [[u8; 2]; 8],
    /// Bytes beside the factors.
    scales: [u8; 16],
    small_minimums: [u8; 8],
}

impl<'a> Packer<'a> {
    fn new(matrix: FileMatrix<'a>) -> Result<Self, KernelError> {
        let FileMatrix { dtype, outputs, inputs, bytes } = matrix;
        let packing = Packing::of(dtype)
            .filter(|_| PackedMatrix::supports(dtype, inputs))
            .ok_or(KernelError::Unsupported { dtype, inputs })?;
        let (block_inputs, block_bytes) = packing.file_block();
        let row_bytes = inputs / block_inputs * block_bytes;
        if outputs == 0 || outputs.checked_mul(row_bytes) != Some(bytes.len()) {
            return Err(matrix.wrong_size());
        }
        let per_group = group_blocks(inputs);
        let group_bytes = packing.header_bytes(per_group) + per_group * packing.quants();
        let strip_bytes = inputs / BLOCK / per_group * group_bytes;
        Ok(Self { matrix, packing, per_group, row_bytes, strip_bytes })
    }

    /// Fills one strip; rows beyond the matrix stay zero.
    fn pack_strip(&self, strip: usize, target: &mut [u8]) {
        let header = self.packing.header_bytes(self.per_group);
        let group_bytes = header + self.per_group * self.packing.quants();
        let (block_inputs, block_bytes) = self.packing.file_block();
        let row_group_bytes = self.per_group * BLOCK / block_inputs * block_bytes;
        let rows = self.matrix.bytes.chunks_exact(self.row_bytes).skip(strip * STRIP).take(STRIP);
        for (row, bytes) in rows.enumerate() {
            for (source, target) in bytes.chunks_exact(row_group_bytes).zip(target.chunks_exact_mut(group_bytes)) {
                let mut group = RowGroup::default();
                self.packing.read(source, &mut group);
                let (header, quants) = target.split_at_mut(header);
                self.packing.write_header(&group, self.per_group, row, header);
                for (block, values) in quants.chunks_exact_mut(self.packing.quants()).zip(&group.quants) {
                    pack_row(values, self.packing.bits(), row, block);
                }
            }
        }
    }
}

/// Puts one row's quants into a packed block of zeros.
fn pack_row(values: &[u8; BLOCK], bits: u32, row: usize, block: &mut [u8]) {
    let (cells, _) = values.as_chunks::<4>();
    let cells: [u32; 8] = std::array::from_fn(|cell| u32::from_le_bytes(cells[cell]));
    let lane = 4 * row;
    let mut put =
        |offset: usize, word: u32| block[offset + lane..offset + lane + 4].copy_from_slice(&word.to_le_bytes());
    if bits == 8 {
        cells.iter().enumerate().for_each(|(cell, word)| put(64 * cell, *word));
        return;
    }
    const LOW: u32 = 0x0f0f_0f0f;
    for pair in 0..4 {
        put(64 * pair, (cells[pair] & LOW) | (cells[pair + 4] & LOW) << 4);
    }
    match bits {
        5 => {
            let bit = |cell: usize| (cells[cell] >> 4 & 0x0101_0101) << cell;
            put(256, (0..8).map(bit).fold(0, |plane, bit| plane | bit));
        }
        6 => {
            for half in 0..2 {
                let bits = |pair: usize| (cells[4 * half + pair] >> 4 & 0x0303_0303) << (2 * pair);
                put(256 + 64 * half, (0..4).map(bits).fold(0, |plane, bits| plane | bits));
            }
        }
        _ => {}
    }
}

impl Packing {
    fn write_header(self, group: &RowGroup, blocks: usize, row: usize, header: &mut [u8]) {
        let half = |header: &mut [u8], index: usize, bytes: [u8; 2]| {
            header[2 * (index * STRIP + row)..][..2].copy_from_slice(&bytes);
        };
        match self {
            Self::Q4_0 | Self::Q5_0 | Self::Q8_0 => {
                for (block, factor) in group.factors[..blocks].iter().enumerate() {
                    half(header, block, *factor);
                }
            }
            Self::Q4_1 | Self::Q5_1 => {
                for block in 0..blocks {
                    half(header, block, group.factors[block]);
                    half(header, blocks + block, group.minimums[block]);
                }
            }
            Self::Q4K | Self::Q5K => {
                half(header, 0, group.factors[0]);
                half(header, 1, group.minimums[0]);
                for block in 0..blocks {
                    header[64 + STRIP * block + row] = group.scales[block];
                    header[64 + STRIP * (blocks + block) + row] = group.small_minimums[block];
                }
            }
            Self::Q6K => {
                half(header, 0, group.factors[0]);
                for (index, scale) in group.scales.iter().enumerate() {
                    header[32 + STRIP * index + row] = *scale;
                }
            }
        }
    }

    /// Reads the file's blocks that make up one row of a group.
    fn read(self, source: &[u8], group: &mut RowGroup) {
        let (_, block_bytes) = self.file_block();
        match self {
            Self::Q4K | Self::Q5K => read_scaled(source, self == Self::Q5K, group),
            Self::Q6K => read_six_bits(source, group),
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => {
                for (index, block) in source.chunks_exact(block_bytes).enumerate() {
                    group.factors[index] = [block[0], block[1]];
                    let mut rest = &block[2..];
                    if matches!(self, Self::Q4_1 | Self::Q5_1) {
                        // The files add the minimum, the kernels subtract it.
                        group.minimums[index] = [rest[0], rest[1] ^ 0x80];
                        rest = &rest[2..];
                    }
                    let quants = &mut group.quants[index];
                    if self == Self::Q8_0 {
                        quants.iter_mut().zip(rest).for_each(|(quant, byte)| *quant = byte ^ 0x80);
                        continue;
                    }
                    let mut fifth = 0;
                    if matches!(self, Self::Q5_0 | Self::Q5_1) {
                        fifth = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
                        rest = &rest[4..];
                    }
                    for (place, byte) in rest.iter().enumerate() {
                        quants[place] = byte & 0xf | ((fifth >> place) as u8 & 1) << 4;
                        quants[place + 16] = byte >> 4 | ((fifth >> (place + 16)) as u8 & 1) << 4;
                    }
                }
            }
        }
    }
}

/// A Q4_K or Q5_K block: factor, minimum's factor, 12 bytes of 6-bit scales and minimums, fifth bits, nibbles.
fn read_scaled(source: &[u8], five: bool, group: &mut RowGroup) {
    group.factors[0] = [source[0], source[1]];
    group.minimums[0] = [source[2], source[3]];
    let packed = &source[4..16];
    for block in 0..8 {
        (group.scales[block], group.small_minimums[block]) = if block < 4 {
            (packed[block] & 63, packed[block + 4] & 63)
        } else {
            (packed[block + 4] & 0xf | packed[block - 4] >> 6 << 4, packed[block + 4] >> 4 | packed[block] >> 6 << 4)
        };
    }
    let (fifth, nibbles) = source[16..].split_at(if five { 32 } else { 0 });
    for (pair, bytes) in nibbles.chunks_exact(32).enumerate() {
        for (place, byte) in bytes.iter().enumerate() {
            let bit = |block: usize| fifth.get(place).map_or(0, |bits| (bits >> block & 1) << 4);
            group.quants[2 * pair][place] = byte & 0xf | bit(2 * pair);
            group.quants[2 * pair + 1][place] = byte >> 4 | bit(2 * pair + 1);
        }
    }
}

/// A Q6_K block: nibbles, bit pairs, scales, factor.
fn read_six_bits(source: &[u8], group: &mut RowGroup) {
    let (low, rest) = source.split_at(128);
    let (high, rest) = rest.split_at(64);
    group.scales.copy_from_slice(&rest[..16]);
    group.factors[0] = [rest[16], rest[17]];
    for half in 0..2 {
        let (low, high) = (&low[64 * half..64 * half + 64], &high[32 * half..32 * half + 32]);
        for place in 0..32 {
            let bits = |part: u32| (high[place] >> (2 * part) & 3) << 4;
            group.quants[4 * half][place] = low[place] & 0xf | bits(0);
            group.quants[4 * half + 1][place] = low[place + 32] & 0xf | bits(1);
            group.quants[4 * half + 2][place] = low[place] >> 4 | bits(2);
            group.quants[4 * half + 3][place] = low[place + 32] >> 4 | bits(3);
        }
    }
}
