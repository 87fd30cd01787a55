//! Memory for weights and activations: whole cache lines.

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Bytes that begin at a cache line.
pub(super) struct Lines {
    lines: Vec<Line>,
    bytes: usize,
}

impl Lines {
    pub fn zeroed(bytes: usize) -> Self {
        Self { lines: vec![Line([0; 64]); bytes.div_ceil(64)], bytes }
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.lines.as_flattened_bytes()[..self.bytes]
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        let bytes = self.bytes;
        &mut self.lines.as_flattened_bytes_mut()[..bytes]
    }
}

trait Flatten {
    fn as_flattened_bytes(&self) -> &[u8];
    fn as_flattened_bytes_mut(&mut self) -> &mut [u8];
}

impl Flatten for Vec<Line> {
    fn as_flattened_bytes(&self) -> &[u8] {
        // SAFETY: a line is 64 initialized bytes without padding.
        unsafe { std::slice::from_raw_parts(self.as_ptr().cast(), self.len() * 64) }
    }

    fn as_flattened_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and any bytes make a valid line.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr().cast(), self.len() * 64) }
    }
}
