use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Tensor};
use proptest::prelude::*;

use super::activations::group_blocks;
use super::format::BLOCK;
use super::product::execute_with;
use super::*;

const DTYPES: [GgmlDType; 8] = [
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q5_0,
    GgmlDType::Q5_1,
    GgmlDType::Q8_0,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
];

/// Numbers between -1 and 1, now and then a large one as activations have them, the same for the same seed.
fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let x = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
            if state.is_multiple_of(97) { 20.0 * x } else { x }
        })
        .collect()
}

/// A quantized matrix, packed, and its weights as candle reads them.
struct Sample {
    packed: PackedMatrix,
    weights: Vec<f32>,
    outputs: usize,
    inputs: usize,
}

impl Sample {
    fn new(dtype: GgmlDType, outputs: usize, inputs: usize, seed: u64) -> Self {
        let values = Tensor::from_vec(noise(seed, outputs * inputs), (outputs, inputs), &Device::Cpu).expect("values");
        let quantized = QTensor::quantize(&values, dtype).expect("quantized");
        let bytes = quantized.data().expect("bytes").into_owned();
        let packed = PackedMatrix::pack(FileMatrix { dtype, outputs, inputs, bytes: &bytes }).expect("packed");
        let storage = QStorage::from_data(Cow::Owned(bytes), &Device::Cpu, dtype).expect("storage");
        let read = QTensor::new(storage, (outputs, inputs)).expect("tensor").dequantize(&Device::Cpu).expect("weights");
        Self { packed, weights: read.flatten_all().and_then(|flat| flat.to_vec1()).expect("weights"), outputs, inputs }
    }

    fn product(&self, kind: InstructionSetKind, rows: &[f32]) -> Vec<f32> {
        let activations = Activations::quantize(rows, self.inputs, Preparation::None);
        let mut output = vec![f32::NAN; activations.rows() * self.outputs];
        let job = Job { operation: Operation::Product(&self.packed), output: &mut output };
        execute_with(kind, &activations, &mut [job]);
        output
    }

    /// The same with plain arithmetic on the rounded rows, each element with the sum of the magnitudes that went into it.
    fn plain(&self, rows: &[f32]) -> Vec<(f64, f64)> {
        let rounded: Vec<f64> = rows.chunks_exact(self.inputs).flat_map(rounded).collect();
        let mut output = Vec::new();
        for row in rounded.chunks_exact(self.inputs) {
            for weights in self.weights.chunks_exact(self.inputs) {
                let terms = row.iter().zip(weights).map(|(x, weight)| x * f64::from(*weight));
                output.push(terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs())));
            }
        }
        output
    }
}

/// A row as its groups of 8-bit numbers stand for it.
fn rounded(row: &[f32]) -> Vec<f64> {
    row.chunks_exact(group_blocks(row.len()) * BLOCK)
        .flat_map(|group| {
            let scale = group.iter().fold(0.0_f32, |largest, x| largest.max(x.abs())) / 127.0;
            let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
            group.iter().map(move |x| (f64::from(*x) * f64::from(inverse)).round_ties_even() * f64::from(scale))
        })
        .collect()
}

fn check(dtype: GgmlDType, (outputs, inputs, rows): (usize, usize, usize), seed: u64) {
    let sample = Sample::new(dtype, outputs, inputs, seed);
    let input = noise(seed + 1, rows * inputs);
    let expected = sample.plain(&input);
    for kind in InstructionSetKind::available() {
        for (index, (found, (sum, size))) in sample.product(kind, &input).iter().zip(&expected).enumerate() {
            let error = (f64::from(*found) - sum).abs();
            assert!(
                error <= 2e-6 * size + 1e-6,
                "{dtype:?} {kind:?} [{outputs}, {inputs}] x {rows}, element {index}: {found} instead of {sum}"
            );
        }
    }
}

#[test]
fn products_equal_plain_arithmetic_for_every_type_and_width_of_tile() {
    for dtype in DTYPES {
        for rows in [1, 2, 3, 7, 8, 15, 25, 40] {
            check(dtype, (48, 512, rows), rows as u64);
        }
    }
}

#[test]
fn rows_that_do_not_fill_a_strip_are_computed_all_the_same() {
    for outputs in [1, 15, 17, 33] {
        check(GgmlDType::Q4K, (outputs, 256, 3), 5);
        check(GgmlDType::Q8_0, (outputs, 96, 26), 6);
    }
}

#[test]
fn narrow_groups_are_used_where_the_width_calls_for_them() {
    for (inputs, blocks) in [(896, 4), (32, 1), (96, 1), (64, 2), (1536, 8), (4864, 8)] {
        assert_eq!(group_blocks(inputs), blocks, "{inputs} inputs");
    }
    for dtype in [GgmlDType::Q4_0, GgmlDType::Q4_1, GgmlDType::Q5_0, GgmlDType::Q5_1, GgmlDType::Q8_0] {
        for inputs in [32, 64, 96, 896] {
            check(dtype, (20, inputs, 9), 7);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_shape_is_right(dtype in 0..DTYPES.len(), outputs in 1_usize..70, width in 1_usize..4, rows in 1_usize..45, seed: u32) {
        check(DTYPES[dtype], (outputs, 256 * width, rows), u64::from(seed));
    }
}

/// The bits must not depend on the instruction set, nor on the company of a row.
#[test]
fn a_row_has_the_same_bits_on_every_machine_and_in_every_company() {
    for dtype in DTYPES {
        let sample = Sample::new(dtype, 40, 512, 11);
        let input = noise(12, 33 * 512);
        let alone: Vec<u32> = input
            .chunks_exact(512)
            .flat_map(|row| sample.product(InstructionSetKind::best(), row))
            .map(f32::to_bits)
            .collect();
        for kind in InstructionSetKind::available() {
            let together: Vec<u32> = sample.product(kind, &input).into_iter().map(f32::to_bits).collect();
            assert_eq!(together, alone, "{dtype:?} {kind:?}");
        }
    }
}

#[test]
fn fused_operations_equal_their_parts() {
    let (gate, up) = (Sample::new(GgmlDType::Q4K, 37, 256, 1), Sample::new(GgmlDType::Q6K, 37, 256, 2));
    let input = noise(3, 5 * 256);
    let activations = Activations::quantize(&input, 256, Preparation::None);
    let (products, ups) =
        (gate.product(InstructionSetKind::best(), &input), up.product(InstructionSetKind::best(), &input));
    let base = noise(4, products.len());
    let (mut added, mut gated) = (base.clone(), vec![0.0; products.len()]);
    let combine = |gates: &[f32], ups: &[f32], target: &mut [f32]| {
        target.iter_mut().zip(gates).zip(ups).for_each(|((target, gate), up)| *target = gate.max(0.0) * up);
    };
    execute(
        &activations,
        &mut [
            Job { operation: Operation::Add(&gate.packed), output: &mut added },
            Job {
                operation: Operation::Gated { gate: &gate.packed, up: &up.packed, combine: &combine },
                output: &mut gated,
            },
        ],
    );
    for (index, product) in products.iter().enumerate() {
        assert_eq!(added[index], base[index] + product);
        assert_eq!(gated[index], product.max(0.0) * ups[index]);
    }
}

#[test]
fn matrices_packed_together_are_the_same_matrices() {
    let values = |seed| Tensor::from_vec(noise(seed, 37 * 256), (37, 256), &Device::Cpu).expect("values");
    let dtypes = [GgmlDType::Q4K, GgmlDType::Q6K];
    let files = [0, 1].map(|i| QTensor::quantize(&values(i as u64), dtypes[i]).expect("quantized"));
    let bytes = files.each_ref().map(|file| file.data().expect("bytes"));
    let matrices = [0, 1].map(|i: usize| FileMatrix { dtype: dtypes[i], outputs: 37, inputs: 256, bytes: &bytes[i] });
    let together = PackedMatrix::pack_together(matrices).expect("packed");
    for (matrix, together) in matrices.into_iter().zip(&together) {
        let alone = PackedMatrix::pack(matrix).expect("packed");
        assert_eq!(alone.bytes(), together.bytes());
        assert!((0..alone.strips()).all(|strip| alone.strip(strip) == together.strip(strip)), "{:?}", matrix.dtype);
    }
    let uneven = FileMatrix { outputs: 36, bytes: &bytes[1][..36 * 210], ..matrices[1] };
    assert!(matches!(PackedMatrix::pack_together([matrices[0], uneven]).err(), Some(KernelError::Size { .. })));
}

#[test]
fn the_norm_before_a_product_is_the_root_mean_square_norm() {
    let sample = Sample::new(GgmlDType::Q8_0, 24, 96, 1);
    let (input, weight, epsilon) = (noise(2, 3 * 96), noise(3, 96), 1e-5);
    let normalized: Vec<f32> = input
        .chunks_exact(96)
        .flat_map(|row| {
            let mean = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / 96.0;
            let factor = 1.0 / (mean + f64::from(epsilon)).sqrt();
            row.iter().zip(&weight).map(move |(x, weight)| (f64::from(*x) * factor * f64::from(*weight)) as f32)
        })
        .collect();
    let activations = Activations::quantize(&input, 96, Preparation::RmsNorm { weight: &weight, epsilon });
    let mut output = vec![0.0; 3 * 24];
    execute(&activations, &mut [Job { operation: Operation::Product(&sample.packed), output: &mut output }]);
    for (found, (sum, size)) in output.iter().zip(sample.plain(&normalized)) {
        assert!((f64::from(*found) - sum).abs() <= 1e-3 * size, "{found} and {sum}");
    }
}

#[test]
fn rows_of_zeros_and_of_no_numbers_do_no_harm() {
    let sample = Sample::new(GgmlDType::Q4K, 16, 256, 1);
    assert!(sample.product(InstructionSetKind::best(), &[0.0; 256]).iter().all(|x| *x == 0.0));
    for bad in [f32::NAN, f32::INFINITY, f32::MAX, f32::MIN_POSITIVE / 4.0] {
        let mut input = noise(2, 2 * 256);
        input[7] = bad;
        let output = sample.product(InstructionSetKind::best(), &input);
        let good = sample.product(InstructionSetKind::best(), &input[256..]);
        assert_eq!(output[16..], good, "the other row");
    }
}

#[test]
fn what_has_no_kernel_or_the_wrong_size_is_refused() {
    assert!(!PackedMatrix::supports(GgmlDType::F16, 256));
    assert!(!PackedMatrix::supports(GgmlDType::Q4K, 128));
    assert!(!PackedMatrix::supports(GgmlDType::Q4_0, 0));
    let refused = |dtype, [outputs, inputs]: [usize; 2], bytes: usize| {
        PackedMatrix::pack(FileMatrix { dtype, outputs, inputs, bytes: &vec![0; bytes] }).err().expect("refusal")
    };
    assert!(matches!(refused(GgmlDType::Q4K, [16, 128], 0), KernelError::Unsupported { .. }));
    for (shape, bytes) in [([16, 256], 16 * 144 - 1), ([0, 256], 0), ([usize::MAX, 256], 144)] {
        assert!(matches!(refused(GgmlDType::Q4K, shape, bytes), KernelError::Size { .. }), "{shape:?}");
    }
}
