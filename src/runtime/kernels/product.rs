//! Products of a batch's activations with packed matrices, shared out over the threads strip by strip.

use std::sync::OnceLock;

use super::activations::Activations;
use super::format::{BLOCK, STRIP};
use super::packed::PackedMatrix;
use super::simd::Portable;
use super::strip::{Span, StripKernels};
use crate::runtime::model::parallel;

/// Up to so many rows the weights are used as they lie in memory; for more, a piece of a strip is taken apart once into a
/// buffer that stays in the first-level cache.
const PACKED_ROWS: usize = 24;

/// Groups that are taken apart at a time: 8 to 16 kB of weights.
const UNPACKED_GROUPS: usize = 2;

/// The instruction sets that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSetKind {
    /// AVX-512 with VNNI.
    Avx512Vnni,
    /// AVX2 with FMA, F16C and the dot products of AVX-VNNI.
    Avx2Vnni,
    /// The same with the dot products of AVX-512, to test it on machines without AVX-VNNI.
    #[cfg(test)]
    Avx512VlVnni,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// NEON with the dot products of Armv8.2.
    NeonDotprod,
    /// Whatever the binary was compiled for.
    Portable,
}

impl InstructionSetKind {
    /// Those that this machine has, best first.
    pub fn available() -> Vec<Self> {
        let mut kinds = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 =
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
            if avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
            {
                kinds.push(Self::Avx512Vnni);
                #[cfg(test)]
                kinds.push(Self::Avx512VlVnni);
            }
            if avx2 && is_x86_feature_detected!("avxvnni") {
                kinds.push(Self::Avx2Vnni);
            }
            if avx2 {
                kinds.push(Self::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("dotprod") {
            kinds.push(Self::NeonDotprod);
        }
        kinds.push(Self::Portable);
        kinds
    }

    /// The best that this machine has.
    pub fn best() -> Self {
        static BEST: OnceLock<InstructionSetKind> = OnceLock::new();
        *BEST.get_or_init(|| Self::available().first().copied().unwrap_or(Self::Portable))
    }

    fn kernels(self, matrix: &PackedMatrix) -> StripKernels {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => matrix.packing.kernels::<super::x86::Avx512>(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Vnni => matrix.packing.kernels::<super::x86::Avx2<super::x86::AvxVnni>>(),
            #[cfg(all(test, target_arch = "x86_64"))]
            Self::Avx512VlVnni => matrix.packing.kernels::<super::x86::Avx2<super::x86::Avx512VlVnni>>(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => matrix.packing.kernels::<super::x86::Avx2<super::x86::PairSums>>(),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDotprod => matrix.packing.kernels::<super::neon::Neon<0, 4>>(),
            _ => matrix.packing.kernels::<Portable>(),
        }
    }
}

/// Makes the third of the first two, which are as long.
pub type Combine<'a> = &'a (dyn Fn(&[f32], &[f32], &mut [f32]) + Sync);

/// What is made of the products.
#[derive(Clone, Copy)]
pub enum Operation<'a> {
    /// `x W^T`.
    Product(&'a PackedMatrix),
    /// Adds `x W^T` to what is in the output.
    Add(&'a PackedMatrix),
    /// `combine(x G^T, x U^T)`, element by element.
    Gated { gate: &'a PackedMatrix, up: &'a PackedMatrix, combine: Combine<'a> },
}

impl<'a> Operation<'a> {
    fn matrices(self) -> (&'a PackedMatrix, Option<&'a PackedMatrix>) {
        match self {
            Self::Product(matrix) | Self::Add(matrix) => (matrix, None),
            Self::Gated { gate, up, .. } => (gate, Some(up)),
        }
    }

    /// Columns of the output.
    pub fn outputs(self) -> usize {
        self.matrices().0.outputs()
    }
}

/// An operation and the rows that it fills, `[rows, outputs]`.
pub struct Job<'a> {
    pub operation: Operation<'a>,
    pub output: &'a mut [f32],
}

/// Carries out the jobs on the same activations, in one parallel region.
///
/// A row's results are the same bits whatever rows and jobs are beside it.
///
/// # Panics
/// When a matrix or an output has not the shape that the activations call for: the caller's mistake.
pub fn execute(activations: &Activations, jobs: &mut [Job<'_>]) {
    execute_with(InstructionSetKind::best(), activations, jobs);
}

/// [`execute`] with the instructions named, which the machine must have.
pub(super) fn execute_with(kind: InstructionSetKind, activations: &Activations, jobs: &mut [Job<'_>]) {
    let mut shared = Vec::with_capacity(jobs.len());
    let mut strips = 0;
    for job in jobs.iter_mut() {
        let (first, second) = job.operation.matrices();
        for matrix in [Some(first), second].into_iter().flatten() {
            assert_eq!(matrix.inputs(), activations.inputs(), "inputs of the matrix");
            assert_eq!(matrix.outputs(), first.outputs(), "gate and up");
        }
        assert_eq!(job.output.len(), activations.rows() * first.outputs(), "elements of the output");
        shared.push(SharedJob {
            operation: job.operation,
            kernels: (kind.kernels(first), kind.kernels(second.unwrap_or(first))),
            strips: strips..strips + first.strips(),
            output: job.output.as_mut_ptr(),
        });
        strips += first.strips();
    }
    let workspace = || Workspace::new(activations);
    parallel::for_each_range(strips, workspace, |workspace, range| {
        let mut job = 0;
        for strip in range {
            while strip >= shared[job].strips.end {
                job += 1;
            }
            shared[job].strip(strip - shared[job].strips.start, activations, workspace);
        }
    });
}

/// A [`Job`] as the threads see it.
struct SharedJob<'a> {
    operation: Operation<'a>,
    kernels: (StripKernels, StripKernels),
    /// Numbers of its strips among those of all jobs.
    strips: std::ops::Range<usize>,
    output: *mut f32,
}

// SAFETY: every strip is computed by one thread, and writes the columns of its own rows of weights only.
unsafe impl Sync for SharedJob<'_> {}

/// A thread's intermediate results.
struct Workspace {
    /// `[rows, 16]` for one or two matrices.
    sums: [Vec<f32>; 2],
    unpacked: Vec<u8>,
}

impl Workspace {
    fn new(activations: &Activations) -> Self {
        Self { sums: [vec![0.0; activations.rows() * STRIP], Vec::new()], unpacked: Vec::new() }
    }
}

impl SharedJob<'_> {
    fn strip(&self, index: usize, activations: &Activations, workspace: &mut Workspace) {
        let (first, second) = self.operation.matrices();
        let [sums, other] = &mut workspace.sums;
        multiply(&self.kernels.0, (first, index), activations, (sums, &mut workspace.unpacked));
        if let Some(second) = second {
            other.resize(sums.len(), 0.0);
            multiply(&self.kernels.1, (second, index), activations, (other, &mut workspace.unpacked));
        }
        let columns = STRIP.min(first.outputs() - index * STRIP);
        for (row, sums) in sums.chunks_exact(STRIP).enumerate() {
            // SAFETY: `execute_with` checked the output's size, and no other strip has these columns.
            let target = unsafe {
                let start = self.output.add(row * first.outputs() + index * STRIP);
                std::slice::from_raw_parts_mut(start, columns)
            };
            match self.operation {
                Operation::Product(_) => target.copy_from_slice(&sums[..columns]),
                Operation::Add(_) => target.iter_mut().zip(sums).for_each(|(target, sum)| *target += sum),
                Operation::Gated { combine, .. } => {
                    combine(&sums[..columns], &other[row * STRIP..][..columns], target);
                }
            }
        }
    }
}

/// One strip times all rows, into `sums`, `[rows, 16]`.
fn multiply(
    kernels: &StripKernels,
    (matrix, strip): (&PackedMatrix, usize),
    activations: &Activations,
    (sums, unpacked): (&mut [f32], &mut Vec<u8>),
) {
    let weights = matrix.strip(strip);
    let blocks = super::activations::group_blocks(matrix.inputs());
    let groups = matrix.inputs() / BLOCK / blocks;
    sums.fill(0.0);
    let target = sums.as_mut_ptr();
    let [packed_bytes, unpacked_bytes] = kernels.group_bytes.map(|bytes| bytes(blocks));
    assert_eq!(weights.len(), groups * packed_bytes, "bytes of a strip");
    if activations.rows() <= PACKED_ROWS {
        for tile in activations.tiles() {
            let (data, scales) = activations.part(*tile, 0);
            let span = Span { weights: weights.as_ptr(), activations: data, scales, groups, blocks };
            // SAFETY: weights and activations hold `groups` groups (checked above, and by `part`), `sums` has 16 floats for
            // each row, and the kernels were chosen for this machine.
            unsafe { (kernels.packed[tile.width])(span, target.add(STRIP * tile.row)) };
        }
        return;
    }
    unpacked.reserve(UNPACKED_GROUPS * unpacked_bytes);
    for first in (0..groups).step_by(UNPACKED_GROUPS) {
        let count = UNPACKED_GROUPS.min(groups - first);
        let piece = weights[first * packed_bytes..].as_ptr();
        // SAFETY: the buffer has room for `UNPACKED_GROUPS` groups and is read only where it was written; the rest as above.
        unsafe {
            (kernels.unpack)(piece, count, blocks, unpacked.as_mut_ptr());
            for tile in activations.tiles() {
                let (data, scales) = activations.part(*tile, first);
                let span = Span { weights: unpacked.as_ptr(), activations: data, scales, groups: count, blocks };
                (kernels.unpacked[tile.width])(span, target.add(STRIP * tile.row));
            }
        }
    }
}
