//! The key-value store: blocks of [`BLOCK_TOKENS`] positions, for all layers, handed out by the engine.

use candle_core::{DType, Device, Tensor};
use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use super::{BLOCK_TOKENS, DecoderConfig, ModelError};

/// How much the store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvCapacity {
    /// Number of blocks.
    Blocks(usize),
    /// As many blocks as fit.
    Bytes(u64),
}

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvPrecision {
    /// Half the memory and bandwidth; rounds to 11 significant bits.
    #[default]
    F16,
    F32,
}

/// What the store is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvSettings {
    pub capacity: KvCapacity,
    pub precision: KvPrecision,
}

impl KvSettings {
    /// A store of half-precision blocks.
    pub fn blocks(blocks: usize) -> Self {
        Self { capacity: KvCapacity::Blocks(blocks), precision: KvPrecision::default() }
    }

    /// Bytes that one block of such a model takes over all layers.
    pub fn block_bytes(&self, config: &DecoderConfig) -> usize {
        let element = match self.precision {
            KvPrecision::F16 => 2,
            KvPrecision::F32 => 4,
        };
        2 * element * config.layers * config.kv_heads * config.head_dim * BLOCK_TOKENS
    }

    /// Number of blocks to make.
    pub(super) fn count(&self, config: &DecoderConfig) -> Result<usize, ModelError> {
        let count = match self.capacity {
            KvCapacity::Blocks(count) => count,
            KvCapacity::Bytes(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX) / self.block_bytes(config),
        };
        let fits = u32::try_from(count).is_ok() && count.checked_mul(self.block_bytes(config)).is_some();
        if count == 0 || !fits {
            let reason = format!("{:?} makes {count} blocks of {} bytes", self.capacity, self.block_bytes(config));
            return Err(ModelError::KvStore(reason));
        }
        Ok(count)
    }
}

/// One layer's keys or values as they are kept in host memory.
pub(super) trait Element: Copy + Default + Send + Sync {
    fn narrow(value: f32) -> Self;
    fn widen(source: &[Self], target: &mut [f32]);
}

impl Element for f32 {
    fn narrow(value: f32) -> Self {
        value
    }

    fn widen(source: &[Self], target: &mut [f32]) {
        target.copy_from_slice(source);
    }
}

/// The bits of an [`f16`]. Integers, because a vector of integer zeros is untouched memory: a store that is sized for the
/// worst case then costs only what is used of it.
impl Element for u16 {
    fn narrow(value: f32) -> Self {
        f16::from_f32(value).to_bits()
    }

    fn widen(source: &[Self], target: &mut [f32]) {
        source.reinterpret_cast::<f16>().convert_to_f32_slice(target);
    }
}

/// One layer of a [`HostStore`].
///
/// A block holds one tile per key head. A tile of keys is transposed, `head_dim` rows of [`BLOCK_TOKENS`] columns, so that
/// the scores of a whole block are computed column-parallel; a tile of values has one row of `head_dim` per position.
pub(super) struct HostLayer<E> {
    keys: Vec<E>,
    values: Vec<E>,
    kv_heads: usize,
    head_dim: usize,
}

impl<E: Element> HostLayer<E> {
    fn new(config: &DecoderConfig, blocks: usize) -> Self {
        let elements = blocks * config.kv_heads * config.head_dim * BLOCK_TOKENS;
        Self {
            keys: vec![E::default(); elements],
            values: vec![E::default(); elements],
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
        }
    }

    fn tile(&self, block: usize, kv_head: usize) -> std::ops::Range<usize> {
        let size = self.head_dim * BLOCK_TOKENS;
        let start = (block * self.kv_heads + kv_head) * size;
        start..start + size
    }

    /// Reads the keys of a block as `head_dim` rows of [`BLOCK_TOKENS`].
    pub fn keys(&self, block: usize, kv_head: usize, target: &mut [f32]) {
        E::widen(&self.keys[self.tile(block, kv_head)], target);
    }

    /// Reads the values of a block as [`BLOCK_TOKENS`] rows of `head_dim`.
    pub fn values(&self, block: usize, kv_head: usize, target: &mut [f32]) {
        E::widen(&self.values[self.tile(block, kv_head)], target);
    }

    /// Writes one head's key and value of one position.
    pub fn write(&mut self, (block, slot): (usize, usize), kv_head: usize, key: &[f32], value: &[f32]) {
        let tile = self.tile(block, kv_head);
        let keys = self.keys[tile.clone()].iter_mut().skip(slot).step_by(BLOCK_TOKENS);
        keys.zip(key).for_each(|(target, source)| *target = E::narrow(*source));
        let start = tile.start + slot * self.head_dim;
        let values = &mut self.values[start..start + self.head_dim];
        values.iter_mut().zip(value).for_each(|(target, source)| *target = E::narrow(*source));
    }
}

/// One layer's keys and values on a device: `[blocks * BLOCK_TOKENS, kv_heads, head_dim]`.
pub(super) struct TensorLayer {
    pub keys: Tensor,
    pub values: Tensor,
}

/// Keys and values of all layers.
pub(super) enum KvStore {
    HostF16(Vec<HostLayer<u16>>),
    HostF32(Vec<HostLayer<f32>>),
    Device(Vec<TensorLayer>),
}

impl KvStore {
    /// Host memory for the CPU, tensors for other devices.
    pub fn new(config: &DecoderConfig, settings: KvSettings, device: &Device) -> Result<(Self, usize), ModelError> {
        let blocks = settings.count(config)?;
        let store = match (device, settings.precision) {
            (Device::Cpu, KvPrecision::F16) => Self::HostF16(host_layers(config, blocks)),
            (Device::Cpu, KvPrecision::F32) => Self::HostF32(host_layers(config, blocks)),
            _ => Self::on_device(config, settings, device)?.0,
        };
        Ok((store, blocks))
    }

    /// Tensors, whatever the device.
    pub fn on_device(
        config: &DecoderConfig,
        settings: KvSettings,
        device: &Device,
    ) -> Result<(Self, usize), ModelError> {
        let blocks = settings.count(config)?;
        let dtype = match settings.precision {
            KvPrecision::F16 => DType::F16,
            KvPrecision::F32 => DType::F32,
        };
        let shape = (blocks * BLOCK_TOKENS, config.kv_heads, config.head_dim);
        let layers = (0..config.layers)
            .map(|_| {
                let keys = Tensor::zeros(shape, dtype, device)?;
                Ok(TensorLayer { keys, values: Tensor::zeros(shape, dtype, device)? })
            })
            .collect::<Result<Vec<_>, ModelError>>()?;
        Ok((Self::Device(layers), blocks))
    }
}

fn host_layers<E: Element>(config: &DecoderConfig, blocks: usize) -> Vec<HostLayer<E>> {
    (0..config.layers).map(|_| HostLayer::new(config, blocks)).collect()
}
