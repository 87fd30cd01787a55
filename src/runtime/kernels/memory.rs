//! Memory for weights and activations.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use memmap2::MmapMut;

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
        // SAFETY: the lines are initialized, without padding, and hold at least so many bytes.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.bytes) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and any bytes make a valid line.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.bytes) }
    }
}

/// Bytes of a region that matrices share. Only what is used of it becomes resident.
const REGION_BYTES: usize = 256 << 20;

/// Pages that the processor translates addresses with in one step.
const HUGE_PAGE: usize = 2 << 20;

/// Memory of one matrix, out of a region that matrices loaded one after the other share.
///
/// A matrix of one or two megabytes in a mapping of its own lies on small pages: its stream then stops every 4 kB for a
/// translation. Side by side in one region all but its ends lie on huge pages (measured: 18 against 28 GB/s).
pub(super) struct WeightMemory {
    region: Arc<Region>,
    range: Range<usize>,
}

struct Region {
    map: MmapMut,
}

/// The region last made and the first byte of it that is not handed out.
static LAST: Mutex<(Weak<Region>, usize)> = Mutex::new((Weak::new(), 0));

impl WeightMemory {
    /// Memory of zeros, filled by `fill` before anybody else sees it.
    pub fn filled(bytes: usize, fill: impl FnOnce(&mut [u8])) -> std::io::Result<Self> {
        let memory = Self::reserve(bytes)?;
        // SAFETY: the range is handed out once, to this call, and is inside the mapping, which is readable and writable.
        fill(unsafe {
            let start = memory.region.map.as_ptr().cast_mut().add(memory.range.start);
            std::slice::from_raw_parts_mut(start, bytes)
        });
        Ok(memory)
    }

    fn reserve(bytes: usize) -> std::io::Result<Self> {
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        let (region, start) = match last.0.upgrade() {
            Some(region) if region.map.len() - last.1 >= bytes => (region, last.1),
            _ => {
                let size = bytes.checked_add(HUGE_PAGE).ok_or(std::io::ErrorKind::OutOfMemory)?.max(REGION_BYTES);
                let region = Arc::new(Region { map: MmapMut::map_anon(size)? });
                // Where the system has no huge pages, nothing is lost.
                #[cfg(target_os = "linux")]
                if let Err(error) = region.map.advise(memmap2::Advice::HugePage) {
                    tracing::debug!(%error, "no huge pages");
                }
                let start = region.map.as_ptr().align_offset(HUGE_PAGE);
                (region, start)
            }
        };
        let end = (start + bytes).next_multiple_of(64).min(region.map.len());
        *last = (Arc::downgrade(&region), end);
        Ok(Self { region, range: start..start + bytes })
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.region.map[self.range.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_lie_side_by_side_and_apart() {
        let sizes = [1, 63, 64, 4096, 3 << 20, 300 << 20, 100];
        let memories: Vec<WeightMemory> = sizes
            .iter()
            .enumerate()
            .map(|(index, size)| WeightMemory::filled(*size, |bytes| bytes[0] = index as u8 + 1).expect("memory"))
            .collect();
        for (index, (memory, size)) in memories.iter().zip(sizes).enumerate() {
            let bytes = memory.as_slice();
            assert_eq!((bytes.len(), bytes[0]), (size, index as u8 + 1));
            assert_eq!(bytes.as_ptr().align_offset(64), 0);
            assert!(bytes[1..].iter().all(|byte| *byte == 0));
        }
    }
}
