//! Which sequences run, and what of each the next forward pass computes.
//!
//! Pure and synchronous: no tensors, no clock, no threads. The worker tells it what came, asks for a [`StepPlan`], computes
//! it, and reports what was computed.
//!
//! # Policies
//! - *Order.* A sequence's turn is its submission time plus a lag for its priority ([`lag`]); the earliest turn comes first.
//!   So a crisis overtakes what was submitted up to two minutes before it, within a priority it is first come first served,
//!   and nothing starves: whoever has waited longer than the lag is overtaken by nobody.
//! - *Admission.* Strictly in order, as long as a place and blocks for all known tokens are free. A long prompt at the head
//!   holds up those behind it rather than being passed by forever. A crisis makes room for itself: sequences behind it of
//!   lower priority are preempted.
//! - *Continuous batching.* Each step decodes every sequence that needs one token, and besides computes up to
//!   `prefill_chunk` tokens of those that need more: prompts, and tokens that a grammar forced. The latter come first, they
//!   are few and their reader is waiting.
//! - *Blocks.* Taken as a sequence grows, not reserved for the longest answer it might give: most answers end early. When
//!   the pool is empty, the running sequence with the latest turn is preempted: it gives back its blocks, waits at its old
//!   turn, and is later computed again from its tokens. The sequence with the earliest turn is never preempted for another
//!   one and any single sequence fits into the pool (see [`Scheduler::longest`]), so the engine always gets on.
//!
//! A step costs O(s log s) for s sequences.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::blocks::{BlockPool, blocks_for};
use crate::runtime::Priority;
use crate::runtime::model::{BLOCK_TOKENS, BlockId};

/// How much later than a crisis submitted at the same time a sequence has its turn.
pub fn lag(priority: Priority) -> Duration {
    match priority {
        Priority::Crisis => Duration::ZERO,
        Priority::Interactive => Duration::from_secs(120),
        Priority::Batch => Duration::from_secs(180),
    }
}

/// Name of a sequence in the engine; ascending in the order of submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(u64);

/// A sequence's place in the order of all sequences, earliest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    due: Duration,
    id: SequenceId,
}

/// What the scheduler may hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerLimits {
    /// KV blocks in the model's store; at least 1.
    pub blocks: usize,
    /// Most sequences that run at the same time; at least 1.
    pub max_sequences: usize,
    /// Most tokens per step beside those of decoding sequences; at least 1.
    pub prefill_chunk: usize,
}

/// A part of one sequence that the next pass computes: the tokens `start .. start + length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    pub id: SequenceId,
    pub start: usize,
    pub length: usize,
    /// The slice reaches the last known token, so that the next one can be drawn from its logits.
    pub last: bool,
}

/// One step of the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepPlan {
    /// Empty only when there is no sequence at all.
    pub slices: Vec<Slice>,
    /// Sequences that lost their blocks and wait again.
    pub preempted: Vec<SequenceId>,
}

#[derive(Debug)]
struct Entry {
    priority: Priority,
    turn: Turn,
    /// Known tokens: the prompt's and those generated.
    tokens: usize,
    /// Tokens whose keys and values are in the store.
    computed: usize,
    /// In order of position. Empty while waiting.
    blocks: Vec<BlockId>,
    /// All known tokens were computed once since admission: its reader has seen text.
    generating: bool,
}

impl Entry {
    fn pending(&self) -> usize {
        self.tokens - self.computed
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Scheduler {
    limits: SchedulerLimits,
    pool: BlockPool,
    entries: HashMap<SequenceId, Entry>,
    waiting: BTreeSet<Turn>,
    running: BTreeSet<Turn>,
    next_id: u64,
}

impl Scheduler {
    pub fn new(limits: SchedulerLimits) -> Self {
        Self {
            limits,
            pool: BlockPool::new(limits.blocks),
            entries: HashMap::new(),
            waiting: BTreeSet::new(),
            running: BTreeSet::new(),
            next_id: 0,
        }
    }

    /// Most tokens that one sequence can have in a store of `blocks`.
    pub fn longest(blocks: usize) -> usize {
        blocks * BLOCK_TOKENS
    }

    /// Puts a sequence of `tokens` known tokens (at least one) into the queue. `now` is the time since any fixed moment.
    ///
    /// The caller bounds the number of sequences (see [`super::admission`]) and keeps each within [`Self::longest`].
    pub fn submit(&mut self, priority: Priority, tokens: usize, now: Duration) -> SequenceId {
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        let turn = Turn { due: now + lag(priority), id };
        let entry = Entry { priority, turn, tokens, computed: 0, blocks: Vec::new(), generating: false };
        self.entries.insert(id, entry);
        self.waiting.insert(turn);
        id
    }

    /// Forgets a sequence, waiting or running, and frees its blocks.
    pub fn remove(&mut self, id: SequenceId) {
        if let Some(entry) = self.entries.remove(&id) {
            self.waiting.remove(&entry.turn);
            self.running.remove(&entry.turn);
            entry.blocks.into_iter().for_each(|block| self.pool.release(block));
        }
    }

    /// Decides the next step. The caller computes all of it and then calls [`Self::computed`] for each slice.
    pub fn plan(&mut self) -> StepPlan {
        let mut preempted = Vec::new();
        self.grow(&mut preempted);
        self.admit(&mut preempted);
        StepPlan { slices: self.slices(), preempted }
    }

    /// The keys and values of a slice are in the store.
    pub fn computed(&mut self, slice: &Slice) {
        if let Some(entry) = self.entries.get_mut(&slice.id) {
            entry.computed = slice.start + slice.length;
            entry.generating |= slice.last;
        }
    }

    /// A sequence has `count` more known tokens.
    pub fn extend(&mut self, id: SequenceId, count: usize) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.tokens += count;
        }
    }

    /// A running sequence's blocks, in order of position.
    pub fn blocks(&self, id: SequenceId) -> &[BlockId] {
        self.entries.get(&id).map_or(&[], |entry| &entry.blocks)
    }

    /// The running sequences, earliest turn first.
    pub fn running(&self) -> impl ExactSizeIterator<Item = SequenceId> {
        self.running.iter().map(|turn| turn.id)
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn blocks_in_use(&self) -> usize {
        self.pool.in_use()
    }

    /// Gives the running sequences the blocks for their known tokens, the earliest turn first.
    fn grow(&mut self, preempted: &mut Vec<SequenceId>) {
        let turns: Vec<Turn> = self.running.iter().copied().collect();
        for turn in turns {
            while self.running.contains(&turn) && self.missing_blocks(turn.id) > 0 {
                if self.pool.free() > 0 {
                    self.take_blocks(turn.id, 1);
                } else if let Some(&latest) = self.running.last() {
                    self.preempt(latest, preempted);
                }
            }
        }
    }

    fn admit(&mut self, preempted: &mut Vec<SequenceId>) {
        while let Some(&head) = self.waiting.first() {
            let missing = self.missing_blocks(head.id);
            while !self.has_room(missing) {
                match self.victim_of(head) {
                    Some(victim) => self.preempt(victim, preempted),
                    None => return,
                }
            }
            // A cache of common prompt beginnings starts a sequence here with retained blocks and `computed` above 0.
            self.take_blocks(head.id, missing);
            self.waiting.remove(&head);
            self.running.insert(head);
        }
    }

    fn has_room(&self, blocks: usize) -> bool {
        self.running.len() < self.limits.max_sequences && self.pool.free() >= blocks
    }

    /// The running sequence that must make room for a waiting crisis: the one with the latest turn, if that is behind the
    /// crisis and itself no crisis.
    fn victim_of(&self, head: Turn) -> Option<Turn> {
        let is_crisis = |turn: Turn| self.entries.get(&turn.id).is_some_and(|entry| entry.priority == Priority::Crisis);
        let latest = *self.running.last()?;
        (is_crisis(head) && !is_crisis(latest) && latest > head).then_some(latest)
    }

    fn preempt(&mut self, turn: Turn, preempted: &mut Vec<SequenceId>) {
        self.running.remove(&turn);
        self.waiting.insert(turn);
        preempted.push(turn.id);
        if let Some(entry) = self.entries.get_mut(&turn.id) {
            entry.computed = 0;
            entry.generating = false;
            entry.blocks.drain(..).for_each(|block| self.pool.release(block));
        }
    }

    fn missing_blocks(&self, id: SequenceId) -> usize {
        self.entries.get(&id).map_or(0, |entry| blocks_for(entry.tokens).saturating_sub(entry.blocks.len()))
    }

    fn take_blocks(&mut self, id: SequenceId, count: usize) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.blocks.extend((0..count).map_while(|_| self.pool.allocate()));
        }
    }

    fn slices(&self) -> Vec<Slice> {
        let mut entries: Vec<&Entry> = self.running.iter().filter_map(|turn| self.entries.get(&turn.id)).collect();
        // Stable, so that within each group the earliest turn stays first.
        entries.sort_by_key(|entry| (entry.pending() > 1, !entry.generating));
        let mut budget = self.limits.prefill_chunk;
        let mut slices = Vec::with_capacity(entries.len());
        for entry in entries {
            let length = if entry.pending() == 1 {
                1
            } else {
                let length = entry.pending().min(budget);
                budget -= length;
                length
            };
            if length > 0 {
                let last = entry.computed + length == entry.tokens;
                slices.push(Slice { id: entry.turn.id, start: entry.computed, length, last });
            }
        }
        slices
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
