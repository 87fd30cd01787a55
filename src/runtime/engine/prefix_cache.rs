//! Which blocks hold the keys and values of which beginnings of text, so that nobody computes a common beginning twice.
//!
//! The cache is a tree of full blocks: a node stands for the tokens of one block after those of its parent, so the path to
//! it is the whole text from position 0 on, which is what keys and values depend on. A node is found by its parent and its
//! tokens. That is a hash chain, except that the parent enters the hash by an id that is never given twice instead of by
//! its own hash, and that the map compares the tokens themselves: by induction, what is found is exactly the text asked
//! for. Two texts can neither be mixed up by chance nor, since the map's hash is keyed, be made to collide.
//!
//! A block without a holder stays here as *idle* until its place is needed; the one that was given up longest ago goes
//! first. Sequences hold whole paths and give them up from the end, so a node never goes before its children.
//!
//! All operations are O(1) (amortised) per block.

use std::collections::{HashMap, VecDeque};

use crate::runtime::model::{BLOCK_TOKENS, BlockId};

/// Name of a cached beginning of text that ends with a full block. Never given twice, unlike the id of its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrefixId(u64);

/// The tokens of one full block.
pub type BlockText = [u32; BLOCK_TOKENS];

/// A beginning of text: the tokens of its last block after the beginning that the others make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    parent: Option<PrefixId>,
    text: BlockText,
}

/// A cached beginning and the block with its last keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedBlock {
    pub id: PrefixId,
    pub block: BlockId,
}

/// See the module's documentation. Holders are [`super::blocks::BlockPool`]'s business; it says when a block becomes idle
/// and when it is held again.
#[derive(Debug)]
pub struct PrefixCache {
    found: HashMap<Key, CachedBlock>,
    /// What each block of the store holds; `None` when it is nothing that could be found.
    keys: Vec<Option<Key>>,
    idle: IdleQueue,
    most_idle: usize,
    next_id: u64,
    evictions: u64,
}

impl PrefixCache {
    /// A cache of blocks `0 .. capacity` that keeps at most `most_idle` without a holder; 0 switches it off.
    pub fn new(capacity: usize, most_idle: usize) -> Self {
        Self {
            found: HashMap::new(),
            keys: vec![None; capacity],
            idle: IdleQueue::new(capacity),
            most_idle,
            next_id: 0,
            evictions: 0,
        }
    }

    pub fn is_on(&self) -> bool {
        self.most_idle > 0
    }

    /// Number of idle blocks.
    pub fn idle(&self) -> usize {
        self.idle.len
    }

    /// Blocks that lost their contents to others, since the beginning.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// The block that holds `text` after the beginning `parent`.
    pub fn find(&self, parent: Option<PrefixId>, text: &BlockText) -> Option<CachedBlock> {
        self.found.get(&Key { parent, text: *text }).copied()
    }

    /// From now on `block` is found as `text` after `parent`. It has a holder, who also holds `parent`; all its keys and
    /// values are computed and it is never written again. Nothing with the same text is cached yet.
    pub fn insert(&mut self, parent: Option<PrefixId>, text: &BlockText, block: BlockId) -> PrefixId {
        let key = Key { parent, text: *text };
        let id = PrefixId(self.next_id);
        self.next_id += 1;
        self.found.insert(key, CachedBlock { id, block });
        self.keys[block.0 as usize] = Some(key);
        id
    }

    /// A block lost its last holder. Returns the block that is thereby free: itself when nobody could find it, or the
    /// oldest idle one when there are too many.
    pub fn give_up(&mut self, block: BlockId) -> Option<BlockId> {
        if self.keys[block.0 as usize].is_none() {
            return Some(block);
        }
        self.idle.push(block);
        if self.idle.len > self.most_idle { self.evict() } else { None }
    }

    /// An idle block has a holder again.
    pub fn hold(&mut self, block: BlockId) {
        self.idle.remove(block);
    }

    /// Forgets the block that has been idle for the longest time and returns it.
    pub fn evict(&mut self) -> Option<BlockId> {
        let block = self.idle.pop()?;
        if let Some(key) = self.keys[block.0 as usize].take() {
            self.found.remove(&key);
        }
        self.evictions += 1;
        Some(block)
    }
}

/// Blocks in the order in which they became idle.
///
/// A block that is held again leaves its entry behind; entries are told from the living by their stamp, and cleared away
/// when they outnumber the blocks.
#[derive(Debug)]
struct IdleQueue {
    entries: VecDeque<(u64, BlockId)>,
    /// When each block became idle; `None` while it is not.
    stamps: Vec<Option<u64>>,
    next_stamp: u64,
    len: usize,
}

impl IdleQueue {
    fn new(capacity: usize) -> Self {
        Self { entries: VecDeque::new(), stamps: vec![None; capacity], next_stamp: 0, len: 0 }
    }

    fn push(&mut self, block: BlockId) {
        let stamp = self.next_stamp;
        self.next_stamp += 1;
        self.stamps[block.0 as usize] = Some(stamp);
        self.len += 1;
        if self.entries.len() >= 2 * self.stamps.len() {
            let stamps = &self.stamps;
            self.entries.retain(|&(stamp, block)| stamps[block.0 as usize] == Some(stamp));
        }
        self.entries.push_back((stamp, block));
    }

    fn remove(&mut self, block: BlockId) {
        if self.stamps[block.0 as usize].take().is_some() {
            self.len -= 1;
        }
    }

    fn pop(&mut self) -> Option<BlockId> {
        while let Some((stamp, block)) = self.entries.pop_front() {
            if self.stamps[block.0 as usize] == Some(stamp) {
                self.remove(block);
                return Some(block);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(first: u32) -> BlockText {
        std::array::from_fn(|index| first + index as u32)
    }

    fn block_of(found: Option<CachedBlock>) -> Option<u32> {
        found.map(|found| found.block.0)
    }

    #[test]
    fn the_same_tokens_after_another_beginning_are_another_text() {
        let mut cache = PrefixCache::new(4, 4);
        let first = cache.insert(None, &text(0), BlockId(0));
        let second = cache.insert(Some(first), &text(0), BlockId(1));
        assert_eq!(block_of(cache.find(None, &text(0))), Some(0));
        assert_eq!(block_of(cache.find(Some(first), &text(0))), Some(1));
        assert_eq!(cache.find(Some(second), &text(0)), None);
        assert_eq!(cache.find(None, &text(1)), None);
    }

    #[test]
    fn what_was_given_up_longest_ago_goes_first() {
        let mut cache = PrefixCache::new(4, 4);
        for block in 0..3 {
            cache.insert(None, &text(block), BlockId(block));
        }
        for block in [1, 0, 2] {
            assert_eq!(cache.give_up(BlockId(block)), None);
        }
        cache.hold(BlockId(1));
        assert_eq!(cache.give_up(BlockId(1)), None);
        let evicted: Vec<u32> = std::iter::from_fn(|| cache.evict()).map(|block| block.0).collect();
        assert_eq!(evicted, [0, 2, 1]);
        assert_eq!((cache.idle(), cache.evictions()), (0, 3));
        assert_eq!(cache.find(None, &text(0)), None);
    }

    #[test]
    fn a_held_block_is_not_evicted_but_found() {
        let mut cache = PrefixCache::new(2, 2);
        cache.insert(None, &text(0), BlockId(0));
        assert_eq!(cache.evict(), None);
        cache.give_up(BlockId(0));
        cache.hold(BlockId(0));
        assert_eq!(cache.evict(), None);
        assert_eq!(block_of(cache.find(None, &text(0))), Some(0));
    }

    #[test]
    fn no_more_than_the_bound_stay_idle() {
        let mut cache = PrefixCache::new(4, 2);
        for block in 0..3 {
            cache.insert(None, &text(block), BlockId(block));
        }
        let freed: Vec<Option<BlockId>> = (0..3).map(|block| cache.give_up(BlockId(block))).collect();
        assert_eq!(freed, [None, None, Some(BlockId(0))]);
        assert_eq!(cache.idle(), 2);
    }

    #[test]
    fn a_block_that_nobody_could_find_is_free_at_once() {
        let mut cache = PrefixCache::new(1, 1);
        assert_eq!(cache.give_up(BlockId(0)), Some(BlockId(0)));
        assert_eq!((cache.idle(), cache.evictions()), (0, 0));
    }

    #[test]
    fn an_evicted_beginning_is_not_the_parent_of_its_successor() {
        let mut cache = PrefixCache::new(2, 2);
        let old = cache.insert(None, &text(0), BlockId(0));
        cache.give_up(BlockId(0));
        cache.evict();
        let new = cache.insert(None, &text(0), BlockId(0));
        assert_ne!(old, new);
    }

    #[test]
    fn entries_of_blocks_held_again_do_not_pile_up() {
        let mut cache = PrefixCache::new(3, 3);
        cache.insert(None, &text(0), BlockId(0));
        for _ in 0..1_000 {
            cache.give_up(BlockId(0));
            cache.hold(BlockId(0));
        }
        assert!(cache.idle.entries.len() <= 6, "{}", cache.idle.entries.len());
    }
}
