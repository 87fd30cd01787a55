//! Work on the threads that also run candle's quantized products, and arithmetic that compiles to vector code.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use candle_core::utils::barrier_pool;

/// Number of threads that share the work of [`for_each`].
pub(in crate::runtime) fn threads() -> usize {
    barrier_pool().n_workers() + 1
}

/// Runs `work` on every item, in any order, and returns when all are done.
///
/// candle's quantized products spin on their own pool; a second pool would compete with it for the same cores.
pub(in crate::runtime) fn for_each<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync) {
    if items.len() < 2 || threads() == 1 {
        return items.into_iter().for_each(work);
    }
    // Each item is taken once, so no lock is ever waited for; the pool hands out shared references only.
    let items: Vec<Mutex<Option<T>>> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
    barrier_pool().execute_chunked(items.len(), |range| {
        for item in &items[range] {
            if let Some(item) = item.lock().unwrap_or_else(PoisonError::into_inner).take() {
                work(item);
            }
        }
    });
}

/// Runs `work` on the numbers below `count`, in ranges that the threads take as they become free, each thread with a
/// workspace of its own.
///
/// The ranges shrink towards the end (guided self-scheduling, Polychronopoulos and Kuck 1987): long ones let a thread read
/// on where it was, short ones let all threads end at the same time.
pub(in crate::runtime) fn for_each_range<W>(
    count: usize,
    workspace: impl Fn() -> W + Sync,
    work: impl Fn(&mut W, Range<usize>) + Sync,
) {
    if count < 2 || threads() == 1 {
        return work(&mut workspace(), 0..count);
    }
    let next = AtomicUsize::new(0);
    let take = |start: usize| (start < count).then(|| start + ((count - start) / (4 * threads())).max(1));
    barrier_pool().execute(|_| {
        let mut workspace = workspace();
        while let Ok(start) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            work(&mut workspace, start..take(start).unwrap_or(count));
        }
    });
}

/// `a * b + c`; one instruction where the target has it, and never a call into a software routine.
#[inline(always)]
pub(in crate::runtime) fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) { a.mul_add(b, c) } else { a * b + c }
}

/// e^x within 2 units in the last place for x in [-87, 88], clamped outside.
///
/// Branchless, so that loops over it become vector code: range reduction to |r| <= ln 2 / 2, the Cephes polynomial, and the
/// power of two put together from bits.
#[inline(always)]
pub(in crate::runtime) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves the nearest whole number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = multiply_add(x, std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let r = multiply_add(-whole, LN2_LOW, multiply_add(-whole, LN2_HIGH, x));
    let mut polynomial = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        polynomial = multiply_add(polynomial, r, coefficient);
    }
    let fraction = multiply_add(polynomial, r * r, r) + 1.0;
    fraction * f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for step in -87_000..=88_000 {
            let x = step as f32 / 1000.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.0 * f64::from(f32::EPSILON), "exp({x}) is off by {error:e}");
        }
    }

    #[test]
    fn exp_of_the_impossible_is_finite() {
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
        assert!(exp(f32::INFINITY).is_finite());
    }

    #[test]
    fn every_item_is_worked_on_once() {
        let mut counts = vec![0_u32; 1000];
        for_each(counts.iter_mut().collect(), |count| *count += 1);
        assert!(counts.iter().all(|count| *count == 1));
    }
}
