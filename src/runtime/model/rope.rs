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

/// How fast heads rotate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RopeSpeed {
    /// The slowest pair turns about this many times slower than the first one.
    pub base: f32,
    /// Positions are divided by this: a context stretched by linear interpolation (Chen et al. 2023, arXiv:2306.15595).
    pub stretch: f32,
}

/// The rotation speeds of a model's layers.
#[derive(Clone, Debug)]
pub(super) struct Rope {
    pub layout: RopeLayout,
    /// Radians per position, one per pair.
    frequencies: Vec<f32>,
}

impl Rope {
    pub fn new(layout: RopeLayout, speed: RopeSpeed, head_dim: usize) -> Self {
        let frequency = |i| 1.0 / speed.base.powf(i as f32 / head_dim as f32) / speed.stretch;
        Self { layout, frequencies: (0..head_dim).step_by(2).map(frequency).collect() }
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

    const SPEED: RopeSpeed = RopeSpeed { base: 10_000.0, stretch: 1.0 };

    #[test]
    fn layouts_differ_only_in_where_the_pairs_stand() {
        let rotated = |layout, mut head: Vec<f32>| {
            Rope::new(layout, SPEED, 4).rotations([3].into_iter()).apply(0, &mut head);
            head
        };
        let halves = rotated(RopeLayout::Halves, vec![1.0, 2.0, 3.0, 4.0]);
        let interleaved = rotated(RopeLayout::Interleaved, vec![1.0, 3.0, 2.0, 4.0]);
        assert_eq!(halves, [interleaved[0], interleaved[2], interleaved[1], interleaved[3]]);
    }

    #[test]
    fn position_zero_changes_nothing() {
        let mut head = vec![0.5, -1.0, 2.0, 0.25];
        Rope::new(RopeLayout::Halves, SPEED, 4).rotations([0].into_iter()).apply(0, &mut head);
        assert_eq!(head, [0.5, -1.0, 2.0, 0.25]);
    }

    #[test]
    fn a_stretched_context_reaches_the_same_angles_later() {
        let rotated = |stretch, position| {
            let mut head = vec![1.0, 2.0, 3.0, 4.0];
            let rope = Rope::new(RopeLayout::Halves, RopeSpeed { stretch, ..SPEED }, 4);
            rope.rotations([position].into_iter()).apply(0, &mut head);
            head
        };
        assert_eq!(rotated(8.0, 24), rotated(1.0, 3));
    }
}
