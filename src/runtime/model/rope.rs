//! Rotary position embeddings (Su et al. 2021, arXiv:2104.09864).

/// Which elements of a head rotate together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RopeLayout {
    /// Element `i` with element `i + head_dim / 2` (NeoX).
    Halves,
    /// Element `2 i` with element `2 i + 1`.
    Interleaved,
}

impl RopeLayout {
    /// Rotates one head in place; `cos` and `sin` hold one angle per pair.
    pub fn rotate(self, head: &mut [f32], cos: &[f32], sin: &[f32]) {
        match self {
            Self::Halves => {
                let (first, second) = head.split_at_mut(cos.len());
                for (((x, y), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                    (*x, *y) = (*x * cos - *y * sin, *x * sin + *y * cos);
                }
            }
            Self::Interleaved => {
                let (pairs, _) = head.as_chunks_mut::<2>();
                for (([x, y], cos), sin) in pairs.iter_mut().zip(cos).zip(sin) {
                    (*x, *y) = (*x * cos - *y * sin, *x * sin + *y * cos);
                }
            }
        }
    }
}

/// The rotation speeds of a model.
#[derive(Clone, Debug)]
pub(super) struct Rope {
    pub layout: RopeLayout,
    /// Radians per position, one per pair.
    frequencies: Vec<f32>,
}

impl Rope {
    pub fn new(layout: RopeLayout, base: f32, head_dim: usize) -> Self {
        let frequencies = (0..head_dim).step_by(2).map(|i| 1.0 / base.powf(i as f32 / head_dim as f32)).collect();
        Self { layout, frequencies }
    }

    /// The angles at these positions, computed once for all layers of a forward pass.
    pub fn rotations(&self, positions: impl Iterator<Item = usize>) -> Rotations {
        let pairs = self.frequencies.len();
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for position in positions {
            for frequency in &self.frequencies {
                let (row_sin, row_cos) = (position as f32 * frequency).sin_cos();
                sin.push(row_sin);
                cos.push(row_cos);
            }
        }
        Rotations { layout: self.layout, pairs, cos, sin }
    }
}

/// Cosines and sines, `pairs` per row of the batch.
#[derive(Clone, Debug)]
pub(super) struct Rotations {
    pub layout: RopeLayout,
    pub pairs: usize,
    pub cos: Vec<f32>,
    pub sin: Vec<f32>,
}

impl Rotations {
    /// Rotates a head that stands at `row` of the batch.
    pub fn apply(&self, row: usize, head: &mut [f32]) {
        let angles = row * self.pairs..(row + 1) * self.pairs;
        self.layout.rotate(head, &self.cos[angles.clone()], &self.sin[angles]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_differ_only_in_where_the_pairs_stand() {
        let rotated = |layout, mut head: Vec<f32>| {
            Rope::new(layout, 10_000.0, 4).rotations([3].into_iter()).apply(0, &mut head);
            head
        };
        let halves = rotated(RopeLayout::Halves, vec![1.0, 2.0, 3.0, 4.0]);
        let interleaved = rotated(RopeLayout::Interleaved, vec![1.0, 3.0, 2.0, 4.0]);
        assert_eq!(halves, [interleaved[0], interleaved[2], interleaved[1], interleaved[3]]);
    }

    #[test]
    fn position_zero_changes_nothing() {
        let mut head = vec![0.5, -1.0, 2.0, 0.25];
        Rope::new(RopeLayout::Halves, 10_000.0, 4).rotations([0].into_iter()).apply(0, &mut head);
        assert_eq!(head, [0.5, -1.0, 2.0, 0.25]);
    }
}
