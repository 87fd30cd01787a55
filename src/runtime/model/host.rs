//! Tensors in host memory as slices.

use std::ops::Deref;

use candle_core::{Storage, Tensor};

use super::ModelError;

/// The elements of a contiguous f32 tensor in host memory, without a copy.
pub(super) struct HostRows<G> {
    storage: G,
    range: std::ops::Range<usize>,
}

pub(super) fn host_rows(tensor: &Tensor) -> Result<HostRows<impl Deref<Target = Storage>>, ModelError> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        return Err(ModelError::Compute(candle_core::Error::msg("host rows must be contiguous")));
    };
    Ok(HostRows { storage, range: start..end })
}

impl<G: Deref<Target = Storage>> HostRows<G> {
    pub fn as_slice(&self) -> Result<&[f32], ModelError> {
        match &*self.storage {
            Storage::Cpu(storage) => Ok(&storage.as_slice::<f32>()?[self.range.clone()]),
            Storage::Cuda(_) | Storage::Metal(_) => {
                Err(ModelError::Compute(candle_core::Error::msg("host rows must be in host memory")))
            }
        }
    }
}
