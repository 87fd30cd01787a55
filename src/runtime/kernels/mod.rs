//! Quantized matrix products on the CPU.
//!
//! - [`PackedMatrix`] is a quantized matrix of a model file, repacked at load for the vector units; [`format`](mod@format)
//!   says how.
//! - [`Activations`] are the rows that it is multiplied with, rounded to 8 bits, once for all matrices that need them.
//! - [`execute`] computes the products, and what is fused with them, on all threads; [`strip`] has the innermost loops,
//!   written once over the operations of [`simd`].
//!
//! The instruction set is chosen when the program runs. Results do not depend on it, nor on the number of threads, nor on
//! what else is in the batch: a sequence's logits are the same bits alone and in company.

mod activations;
mod format;
mod memory;
#[cfg(target_arch = "aarch64")]
mod neon;
mod packed;
mod product;
mod simd;
mod strip;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests;

use candle_core::quantized::GgmlDType;

pub use activations::{Activations, Preparation};
pub use packed::{FileMatrix, PackedMatrix};
pub use product::{Combine, InstructionSetKind, Job, Operation, execute};

/// Why a matrix cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("no kernel for {dtype:?} with {inputs} inputs")]
    Unsupported { dtype: GgmlDType, inputs: usize },
    #[error("{bytes} bytes are not a matrix of {outputs} x {inputs}")]
    Size { outputs: usize, inputs: usize, bytes: usize },
    #[error("no memory for the weights: {0}")]
    Memory(#[source] std::io::Error),
}
