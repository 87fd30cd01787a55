//! The pool of KV blocks: which are free, which are kept for their contents, and by how many sequences the others are held.
//!
//! Pure bookkeeping; the keys and values themselves are in the model's store. All operations are O(1).

use super::prefix_cache::{BlockText, CachedBlock, PrefixCache, PrefixId};
use crate::runtime::model::{BLOCK_TOKENS, BlockId};

/// Number of blocks that `tokens` positions take.
pub fn blocks_for(tokens: usize) -> usize {
    tokens.div_ceil(BLOCK_TOKENS)
}

/// Hands out blocks and takes them back.
///
/// A block is handed out with one holder, who writes it. Once it is full and [published](Self::publish), nobody writes it
/// any more and others with the same beginning of text may hold it too. When the last holder lets go it stays available
/// for both: for whoever asks for its text, and, when no other block is free, for whoever needs any block. The caller
/// releases each block as often as it got it.
#[derive(Debug)]
pub struct BlockPool {
    /// Holders of each block; 0 means free or idle.
    holders: Vec<u32>,
    /// Free blocks, the next one to hand out last: a block just freed is the one most likely still in a CPU cache.
    free: Vec<BlockId>,
    cache: PrefixCache,
}

impl BlockPool {
    /// A pool of the blocks `0 .. capacity`, all free. At most `most_idle` blocks without a holder are kept for their
    /// contents; 0 switches sharing off.
    pub fn new(capacity: usize, most_idle: usize) -> Self {
        let ids = 0..u32::try_from(capacity).unwrap_or(u32::MAX);
        let cache = PrefixCache::new(ids.len(), most_idle);
        Self { holders: vec![0; ids.len()], free: ids.rev().map(BlockId).collect(), cache }
    }

    pub fn capacity(&self) -> usize {
        self.holders.len()
    }

    /// Blocks that can be handed out: free, or idle and then evicted.
    pub fn available(&self) -> usize {
        self.free.len() + self.cache.idle()
    }

    /// Blocks held by sequences.
    pub fn in_use(&self) -> usize {
        self.capacity() - self.available()
    }

    /// Blocks that nobody holds and that are kept for their contents.
    pub fn idle(&self) -> usize {
        self.cache.idle()
    }

    /// Idle blocks that were evicted, since the beginning.
    pub fn evictions(&self) -> u64 {
        self.cache.evictions()
    }

    /// A block whose contents nobody wants, now held once.
    pub fn allocate(&mut self) -> Option<BlockId> {
        let block = self.free.pop().or_else(|| self.cache.evict())?;
        self.holders[block.0 as usize] = 1;
        Some(block)
    }

    /// The block with the keys and values of `text` after the beginning `parent`, now held once more. The caller holds
    /// `parent`.
    pub fn look_up(&mut self, parent: Option<PrefixId>, text: &BlockText) -> Option<CachedBlock> {
        let found = self.cache.find(parent, text)?;
        self.hold(found.block);
        Some(found)
    }

    /// The keys and values of `text` after the beginning `parent` are in `block`: others may hold it from now on. The
    /// caller holds both and never writes the block again.
    ///
    /// When another block already holds the same text, the caller gets that one in exchange and `block` is released.
    /// `None` when sharing is switched off.
    pub fn publish(&mut self, parent: Option<PrefixId>, text: &BlockText, block: BlockId) -> Option<CachedBlock> {
        if !self.cache.is_on() {
            return None;
        }
        if let Some(found) = self.look_up(parent, text) {
            self.release(block);
            return Some(found);
        }
        Some(CachedBlock { id: self.cache.insert(parent, text, block), block })
    }

    /// One holder fewer.
    ///
    /// A holder of several blocks releases the last one first, so that a beginning outlives what follows it.
    ///
    /// # Panics
    /// When nobody holds the block: two sequences would come to write the same block.
    pub fn release(&mut self, block: BlockId) {
        let holders = &mut self.holders[block.0 as usize];
        assert!(*holders > 0, "block {} is released twice", block.0);
        *holders -= 1;
        if *holders == 0 {
            self.free.extend(self.cache.give_up(block));
        }
    }

    fn hold(&mut self, block: BlockId) {
        let holders = &mut self.holders[block.0 as usize];
        if *holders == 0 {
            self.cache.hold(block);
        }
        *holders += 1;
    }
}

#[cfg(test)]
#[path = "tests/blocks.rs"]
mod tests;
