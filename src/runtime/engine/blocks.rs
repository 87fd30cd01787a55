//! The pool of KV blocks: which are free, and by how many sequences the others are held.
//!
//! Pure bookkeeping; the keys and values themselves are in the model's store. All operations are O(1).

use crate::runtime::model::{BLOCK_TOKENS, BlockId};

/// Number of blocks that `tokens` positions take.
pub fn blocks_for(tokens: usize) -> usize {
    tokens.div_ceil(BLOCK_TOKENS)
}

/// Hands out blocks and takes them back.
///
/// A block is handed out with one holder. Several sequences may hold the same *full* block (a common beginning); it is
/// free again when the last one lets go. The caller releases each block as often as it allocated or retained it.
#[derive(Debug)]
pub struct BlockPool {
    /// Holders of each block; 0 means free.
    holders: Vec<u32>,
    /// Free blocks, the next one to hand out last: a block just freed is the one most likely still in a CPU cache.
    free: Vec<BlockId>,
}

impl BlockPool {
    /// A pool of the blocks `0 .. capacity`, all free.
    pub fn new(capacity: usize) -> Self {
        let ids = 0..u32::try_from(capacity).unwrap_or(u32::MAX);
        Self { holders: vec![0; ids.len()], free: ids.rev().map(BlockId).collect() }
    }

    pub fn capacity(&self) -> usize {
        self.holders.len()
    }

    pub fn free(&self) -> usize {
        self.free.len()
    }

    pub fn in_use(&self) -> usize {
        self.capacity() - self.free()
    }

    /// A free block, now held once.
    pub fn allocate(&mut self) -> Option<BlockId> {
        let block = self.free.pop()?;
        self.holders[block.0 as usize] = 1;
        Some(block)
    }

    /// One more holder of a block that is already held.
    ///
    /// # Panics
    /// When the block is free: its contents are nobody's.
    pub fn retain(&mut self, block: BlockId) {
        let holders = &mut self.holders[block.0 as usize];
        assert!(*holders > 0, "block {} is free", block.0);
        *holders += 1;
    }

    /// One holder fewer; the block is free when none is left.
    ///
    /// # Panics
    /// When the block is already free: two sequences would come to write the same block.
    pub fn release(&mut self, block: BlockId) {
        let holders = &mut self.holders[block.0 as usize];
        assert!(*holders > 0, "block {} is released twice", block.0);
        *holders -= 1;
        if *holders == 0 {
            self.free.push(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_block_is_handed_out_once_and_then_none() {
        let mut pool = BlockPool::new(5);
        let blocks: HashSet<BlockId> = std::iter::from_fn(|| pool.allocate()).collect();
        assert_eq!(blocks.len(), 5);
        assert_eq!((pool.free(), pool.in_use()), (0, 5));
    }

    #[test]
    fn a_released_block_can_be_handed_out_again() {
        let mut pool = BlockPool::new(1);
        let block = pool.allocate().unwrap();
        assert_eq!(pool.allocate(), None);
        pool.release(block);
        assert_eq!(pool.allocate(), Some(block));
    }

    #[test]
    fn a_shared_block_is_free_only_after_its_last_holder() {
        let mut pool = BlockPool::new(1);
        let block = pool.allocate().unwrap();
        pool.retain(block);
        pool.release(block);
        assert_eq!(pool.free(), 0);
        pool.release(block);
        assert_eq!(pool.free(), 1);
    }

    #[test]
    #[should_panic(expected = "released twice")]
    fn a_double_release_is_refused() {
        let mut pool = BlockPool::new(1);
        let block = pool.allocate().unwrap();
        pool.release(block);
        pool.release(block);
    }

    #[test]
    fn a_partly_filled_block_counts_as_a_block() {
        for (tokens, blocks) in [(0, 0), (1, 1), (BLOCK_TOKENS, 1), (BLOCK_TOKENS + 1, 2)] {
            assert_eq!(blocks_for(tokens), blocks, "{tokens} tokens");
        }
    }
}
