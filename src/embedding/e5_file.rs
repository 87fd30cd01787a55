//! Reader of the `E5S1` file: one little-endian file with the encoder's sizes, its tokenizer and its 4-bit weights.
//!
//! ```text
//! "E5S1" u32 version
//! i32 hidden, layers, heads, feed_forward, vocabulary, positions, token_types   f32 epsilon   i32 block
//! i32 pieces, bos, eos, pad, unk   u64 blob_bytes   u32[pieces + 1] offsets   f32[pieces] scores   u8[blob_bytes] blob
//! i32 rules   u32 rule_bytes   rules x { u32 from, u8 n, u32[n] to }
//! i32 tensors   tensors x { u16 n, u8[n] name, u8 type, u32 elements, u64 offset, u64 bytes }
//! tensors: type 0 is f32, type 1 is Q4_0 (blocks of 32 weights: an f16 scale and 16 bytes, ggml's layout)
//! ```
//!
//! Everything read is checked against the file's length, so that a truncated or damaged file is an error, not a panic.

use std::collections::HashMap;
use std::ops::Range;

const MAGIC: &[u8; 4] = b"E5S1";
const VERSION: u32 = 1;

/// Weights per Q4_0 block.
const BLOCK: usize = 32;
/// Bytes per Q4_0 block.
const BLOCK_BYTES: usize = 18;

/// Why a file is not a readable encoder.
#[derive(Debug, thiserror::Error)]
pub enum E5FileError {
    #[error("not an E5S1 file")]
    Magic,
    #[error("E5S1 version {0}, this program reads version {VERSION}")]
    Version(u32),
    #[error("the file is truncated: {wanted} bytes wanted at offset {offset}, it has {length}")]
    Truncated { offset: usize, wanted: usize, length: usize },
    #[error("the file is damaged: {0}")]
    Damaged(String),
    #[error("tensor `{0}` is missing")]
    MissingTensor(String),
    #[error("tensor `{name}` has {found} elements, {expected} expected")]
    TensorSize { name: String, found: usize, expected: usize },
}

fn damaged(what: impl Into<String>) -> E5FileError {
    E5FileError::Damaged(what.into())
}

/// The encoder's sizes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct E5Config {
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub feed_forward: usize,
    pub vocabulary: usize,
    /// Most tokens of one text, with the two special ones.
    pub positions: usize,
    pub token_types: usize,
    pub epsilon: f32,
}

/// The tokenizer as it lies in the file.
#[derive(Clone, Debug)]
pub(super) struct TokenizerData {
    pub bos: u32,
    pub eos: u32,
    pub unk: u32,
    /// Piece `i` is `blob[offsets[i]..offsets[i + 1]]`.
    pub offsets: Vec<u32>,
    pub scores: Vec<f32>,
    pub blob: Vec<u8>,
    /// What the normalizer puts in a character's place, sorted by character.
    pub rules: Vec<Rule>,
}

/// A character and what takes its place.
pub(super) type Rule = (char, Box<[char]>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TensorType {
    F32,
    Q4,
}

#[derive(Clone, Debug)]
struct Entry {
    kind: TensorType,
    elements: usize,
    bytes: Range<usize>,
}

/// A whole file, checked.
pub(super) struct E5File<'a> {
    data: &'a [u8],
    pub config: E5Config,
    pub tokenizer: TokenizerData,
    directory: HashMap<String, Entry>,
}

impl<'a> E5File<'a> {
    /// Reads header, tokenizer and tensor directory.
    pub fn parse(data: &'a [u8]) -> Result<Self, E5FileError> {
        let mut cursor = Cursor { data, at: 0 };
        if data.get(..4) != Some(MAGIC) {
            return Err(E5FileError::Magic);
        }
        cursor.at = 4;
        let version = cursor.u32()?;
        if version != VERSION {
            return Err(E5FileError::Version(version));
        }
        let config = read_config(&mut cursor)?;
        let tokenizer = read_tokenizer(&mut cursor)?;
        if config.vocabulary < tokenizer.scores.len() {
            return Err(damaged("the tokenizer has more pieces than the embedding has rows"));
        }
        let directory = read_directory(&mut cursor)?;
        Ok(Self { data, config, tokenizer, directory })
    }

    fn entry(&self, name: &str, kind: TensorType, expected: usize) -> Result<&'a [u8], E5FileError> {
        let entry = self.directory.get(name).ok_or_else(|| E5FileError::MissingTensor(name.to_owned()))?;
        if entry.kind != kind {
            return Err(damaged(format!("tensor `{name}` is stored as {:?}, {kind:?} expected", entry.kind)));
        }
        if entry.elements != expected {
            return Err(E5FileError::TensorSize { name: name.to_owned(), found: entry.elements, expected });
        }
        Ok(&self.data[entry.bytes.clone()])
    }

    /// A tensor of `elements` f32.
    pub fn f32s(&self, name: &str, elements: usize) -> Result<Vec<f32>, E5FileError> {
        let values = f32s(self.entry(name, TensorType::F32, elements)?);
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(damaged(format!("tensor `{name}` holds a value that is no number")))
        }
    }

    /// The Q4_0 blocks of a matrix, row after row, `columns` a multiple of 32.
    pub fn q4_blocks(&self, name: &str, rows: usize, columns: usize) -> Result<&'a [u8], E5FileError> {
        self.entry(name, TensorType::Q4, rows * columns)
    }
}

fn read_config(cursor: &mut Cursor<'_>) -> Result<E5Config, E5FileError> {
    let config = E5Config {
        hidden: cursor.size("hidden size", 1 << 14)?,
        layers: cursor.size("layer count", 1 << 8)?,
        heads: cursor.size("head count", 1 << 8)?,
        feed_forward: cursor.size("feed-forward size", 1 << 16)?,
        vocabulary: cursor.size("vocabulary", 1 << 24)?,
        positions: cursor.size("position count", 1 << 16)?,
        token_types: cursor.size("token type count", 1 << 8)?,
        epsilon: cursor.f32()?,
    };
    let block = cursor.size("block size", 1 << 8)?;
    if block != BLOCK {
        return Err(damaged(format!("blocks of {block} weights, {BLOCK} expected")));
    }
    let divides = config.hidden.is_multiple_of(config.heads)
        && config.hidden.is_multiple_of(BLOCK)
        && config.feed_forward.is_multiple_of(BLOCK);
    if !divides || config.positions < 3 || !(config.epsilon > 0.0 && config.epsilon < 1.0) {
        return Err(damaged(format!("impossible sizes: {config:?}")));
    }
    Ok(config)
}

fn read_tokenizer(cursor: &mut Cursor<'_>) -> Result<TokenizerData, E5FileError> {
    let pieces = cursor.size("piece count", 1 << 24)?;
    let mut special = |name: &str| match usize::try_from(cursor.i32()?) {
        Ok(id) if id < pieces => Ok(id as u32),
        _ => Err(damaged(format!("the {name} token is no piece"))),
    };
    let (bos, eos, _pad, unk) = (special("begin")?, special("end")?, special("pad")?, special("unknown")?);
    let blob_bytes = usize::try_from(cursor.u64()?).map_err(|_| damaged("piece text too long"))?;
    let offsets = u32s(cursor.take((pieces + 1) * 4)?);
    let scores = f32s(cursor.take(pieces * 4)?);
    let blob = cursor.take(blob_bytes)?.to_vec();
    if offsets.first() != Some(&0) || offsets.last().is_none_or(|&end| end as usize != blob.len()) {
        return Err(damaged("piece offsets do not span the piece text"));
    }
    if offsets.windows(2).any(|pair| pair[0] > pair[1]) || scores.iter().any(|score| !score.is_finite()) {
        return Err(damaged("piece offsets or scores are out of order"));
    }
    let rule_count = cursor.size("normalizer rule count", 1 << 21)?;
    let rule_bytes = cursor.u32()? as usize;
    let rules = read_rules(cursor.take(rule_bytes)?, rule_count)?;
    Ok(TokenizerData { bos, eos, unk, offsets, scores, blob, rules })
}

fn read_rules(data: &[u8], count: usize) -> Result<Vec<Rule>, E5FileError> {
    let mut cursor = Cursor { data, at: 0 };
    let mut rules = Vec::with_capacity(count.min(data.len() / 5));
    for _ in 0..count {
        let from = cursor.char()?;
        let length = cursor.take(1)?[0];
        let to = (0..length).map(|_| cursor.char()).collect::<Result<Box<[char]>, _>>()?;
        rules.push((from, to));
    }
    if rules.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        return Err(damaged("normalizer rules are not sorted"));
    }
    Ok(rules)
}

fn read_directory(cursor: &mut Cursor<'_>) -> Result<HashMap<String, Entry>, E5FileError> {
    let count = cursor.size("tensor count", 1 << 16)?;
    let mut directory = HashMap::with_capacity(count);
    for _ in 0..count {
        let name_bytes = usize::from(cursor.u16()?);
        let name = std::str::from_utf8(cursor.take(name_bytes)?).map_err(|_| damaged("a tensor name is no UTF-8"))?;
        let kind = match cursor.take(1)?[0] {
            0 => TensorType::F32,
            1 => TensorType::Q4,
            other => return Err(damaged(format!("tensor `{name}` has the unknown type {other}"))),
        };
        let elements = cursor.u32()? as usize;
        let (offset, bytes) = (cursor.u64()?, cursor.u64()?);
        let expected = match kind {
            TensorType::F32 => elements * 4,
            TensorType::Q4 => elements.div_ceil(BLOCK) * BLOCK_BYTES,
        };
        // Even offsets keep the f16 scales aligned, which candle asks of Q4_0 data.
        if bytes != expected as u64 || offset % 4 != 0 {
            return Err(damaged(format!("tensor `{name}`: {bytes} bytes at {offset} for {elements} elements")));
        }
        let truncated = || E5FileError::Truncated {
            offset: usize::try_from(offset).unwrap_or(usize::MAX),
            wanted: expected,
            length: cursor.data.len(),
        };
        let start = usize::try_from(offset).map_err(|_| truncated())?;
        let end = start.checked_add(expected).filter(|&end| end <= cursor.data.len()).ok_or_else(truncated)?;
        directory.insert(name.to_owned(), Entry { kind, elements, bytes: start..end });
    }
    Ok(directory)
}

struct Cursor<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], E5FileError> {
        let truncated = || E5FileError::Truncated { offset: self.at, wanted: bytes, length: self.data.len() };
        let end = self.at.checked_add(bytes).ok_or_else(truncated)?;
        let taken = self.data.get(self.at..end).ok_or_else(truncated)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], E5FileError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u16(&mut self) -> Result<u16, E5FileError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, E5FileError> {
        self.array().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Result<i32, E5FileError> {
        self.array().map(i32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, E5FileError> {
        self.array().map(u64::from_le_bytes)
    }

    fn f32(&mut self) -> Result<f32, E5FileError> {
        self.array().map(f32::from_le_bytes)
    }

    fn char(&mut self) -> Result<char, E5FileError> {
        char::from_u32(self.u32()?).ok_or_else(|| damaged("a normalizer rule holds no character"))
    }

    /// A positive i32 no larger than `limit`: bounds what a damaged header can make us allocate.
    fn size(&mut self, name: &str, limit: usize) -> Result<usize, E5FileError> {
        let value = self.i32()?;
        match usize::try_from(value) {
            Ok(size) if size > 0 && size <= limit => Ok(size),
            _ => Err(damaged(format!("{name} is {value}"))),
        }
    }
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect()
}

fn u32s(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|&chunk| u32::from_le_bytes(chunk)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A whole file with `pieces` (text, score) as its tokenizer and one f32 tensor `x`; the first four pieces are
    /// begin, pad, end and unknown.
    pub fn file(pieces: &[(&str, f32)], rules: &[(char, &str)]) -> Vec<u8> {
        let mut out = Vec::from(*MAGIC);
        out.extend(VERSION.to_le_bytes());
        for size in [32i32, 1, 2, 64, pieces.len() as i32, 16, 2] {
            out.extend(size.to_le_bytes());
        }
        out.extend(1e-12f32.to_le_bytes());
        for size in [32, pieces.len() as i32, 0, 2, 1, 3] {
            out.extend(size.to_le_bytes());
        }
        let blob: String = pieces.iter().map(|piece| piece.0).collect();
        out.extend((blob.len() as u64).to_le_bytes());
        let mut offset = 0u32;
        out.extend(offset.to_le_bytes());
        for (text, _) in pieces {
            offset += text.len() as u32;
            out.extend(offset.to_le_bytes());
        }
        pieces.iter().for_each(|(_, score)| out.extend(score.to_le_bytes()));
        out.extend(blob.as_bytes());
        out.extend((rules.len() as i32).to_le_bytes());
        let mut rule_bytes = Vec::new();
        for (from, to) in rules {
            rule_bytes.extend(u32::from(*from).to_le_bytes());
            rule_bytes.push(to.chars().count() as u8);
            to.chars().for_each(|c| rule_bytes.extend(u32::from(c).to_le_bytes()));
        }
        out.extend((rule_bytes.len() as u32).to_le_bytes());
        out.extend(rule_bytes);
        out.extend(1i32.to_le_bytes());
        out.extend(1u16.to_le_bytes());
        out.extend([b'x', 0]);
        out.extend(2u32.to_le_bytes());
        let offset = (out.len() + 16).next_multiple_of(4);
        out.extend((offset as u64).to_le_bytes());
        out.extend(8u64.to_le_bytes());
        out.resize(offset, 0);
        out.extend(1.5f32.to_le_bytes());
        out.extend((-2f32).to_le_bytes());
        out
    }

    fn sample() -> Vec<u8> {
        file(&[("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0)], &[('\t', " ")])
    }

    #[test]
    fn a_whole_file_is_read() {
        let data = sample();
        let file = E5File::parse(&data).unwrap();
        assert_eq!(file.config.hidden, 32);
        assert_eq!(file.tokenizer.rules, [('\t', Box::from([' ']))]);
        assert_eq!(file.f32s("x", 2).unwrap(), [1.5, -2.0]);
        assert!(matches!(file.f32s("x", 3), Err(E5FileError::TensorSize { found: 2, .. })));
        assert!(matches!(file.f32s("y", 2), Err(E5FileError::MissingTensor(_))));
        assert!(matches!(file.q4_blocks("x", 1, 2), Err(E5FileError::Damaged(_))));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let data = sample();
        for length in 0..data.len() {
            assert!(E5File::parse(&data[..length]).is_err(), "{length} of {} bytes were accepted", data.len());
        }
    }

    #[test]
    fn foreign_and_damaged_headers_are_named() {
        let mut data = sample();
        data[0] = b'G';
        assert!(matches!(E5File::parse(&data), Err(E5FileError::Magic)));
        let mut data = sample();
        data[4] = 9;
        assert!(matches!(E5File::parse(&data), Err(E5FileError::Version(9))));
        let mut data = sample();
        data[8..12].copy_from_slice(&(-5i32).to_le_bytes());
        assert!(matches!(E5File::parse(&data), Err(E5FileError::Damaged(_))));
        // The layer count must not decide an allocation before it is checked.
        let mut data = sample();
        data[12..16].copy_from_slice(&i32::MAX.to_le_bytes());
        assert!(matches!(E5File::parse(&data), Err(E5FileError::Damaged(_))));
    }
}
