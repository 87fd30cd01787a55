//! Which sequences run, and what of each the next forward pass computes.
//!
//! Pure and synchronous: no tensors, no clock, no threads. The worker tells it what came, asks for a [`StepPlan`], computes
//! it, and reports what was computed.
//!
//! # Policies
//! - *Order.* A sequence's turn is its submission time plus a lag for its priority ([`lag`]); the earliest turn comes first.
//!   So a crisis overtakes what was submitted up to two minutes before it, within a priority it is first come first served,
//!   and nothing starves: whoever has waited longer than the lag is overtaken by nobody.
//! - *Admission.* Strictly in order, as long as a place and blocks for all known tokens are there. A long prompt at the head
//!   holds up those behind it rather than being passed by forever. A crisis makes room for itself: sequences behind it of
//!   lower priority are preempted.
//! - *Continuous batching.* Each step decodes every sequence that needs one token, and besides computes up to
//!   `prefill_chunk` tokens of those that need more: prompts, and tokens that a grammar forced. The latter come first, they
//!   are few and their reader is waiting.
//! - *Common beginnings.* A full block whose keys and values are computed is [published](BlockPool::publish). A sequence is
//!   admitted with all published blocks that its text begins with, and looks again before each chunk of its prompt: of
//!   several that come at once with the same beginning, the first computes and the others follow on its heels. At least
//!   one known token is always computed, for its logits. Blocks stay published when their sequence ends or is preempted;
//!   those that nobody holds count as free, and go, oldest first, when their place is needed.
//! - *Blocks.* Taken as a sequence grows, not reserved for the longest answer it might give: most answers end early. When
//!   no block is left, the running sequence with the latest turn is preempted: it gives back its blocks, waits at its old
//!   turn, and is later computed again from its tokens, as far as its blocks have gone to others. The sequence with the
//!   earliest turn is never preempted for another one and any single sequence fits into the pool (see
//!   [`Scheduler::longest`]), so the engine always gets on.
//! - *Speculation.* Rows that a step leaves of `speculation_rows` are offered to the sequences that write an answer, in
//!   equal shares, for [drafts](super::speculation). Drafts take no block for which another sequence would be preempted.
//!
//! A step costs O(s log s) for s sequences, and O(1) for each block that it fills or finds.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::blocks::{BlockPool, blocks_for};
use super::prefix_cache::{BlockText, PrefixId};
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
    /// Most blocks that are kept for their contents while nobody holds them; 0 switches the sharing of blocks off.
    pub idle_blocks: usize,
    /// Rows of a step up to which drafts may fill it; below 2 nothing is drafted.
    pub speculation_rows: usize,
}

/// A part of one sequence that the next pass computes: the known tokens `start .. start + length`, and then as many drafted
/// ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    pub id: SequenceId,
    pub start: usize,
    pub length: usize,
    /// The slice reaches the last known token, so that the next one can be drawn from its logits.
    pub last: bool,
    /// Tokens behind the last known one that are only a guess.
    pub drafts: usize,
}

/// One step of the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepPlan {
    /// Empty only when there is no sequence at all.
    pub slices: Vec<Slice>,
    /// Sequences that lost their blocks and wait again.
    pub preempted: Vec<SequenceId>,
    /// Tokens of sequences that need not be computed, because blocks with their keys and values were found.
    pub reused: Vec<(SequenceId, usize)>,
}

/// What the cache of common beginnings did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixWork {
    /// Admissions, each of which looks its tokens up.
    pub lookups: usize,
    /// Known tokens of the sequences admitted.
    pub tokens: usize,
    /// Tokens that were found and not computed.
    pub hits: usize,
    /// Blocks whose contents were given up because their place was needed.
    pub evictions: usize,
}

#[derive(Debug)]
struct Entry {
    priority: Priority,
    turn: Turn,
    /// Known tokens: the prompt's and those generated.
    tokens: Vec<u32>,
    /// Tokens whose keys and values are in the store.
    computed: usize,
    /// In order of position. Empty while waiting.
    blocks: Vec<BlockId>,
    /// The first blocks, up to this number, are published: full, computed, perhaps held by others too, never written.
    published: usize,
    /// The beginning that the published blocks make.
    beginning: Option<PrefixId>,
    /// All known tokens were computed once since admission: its reader has seen text.
    generating: bool,
}

impl Entry {
    fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// The tokens of the first block that is not published, if that many are known.
    fn next_text(&self) -> Option<&BlockText> {
        self.tokens.get(self.published * BLOCK_TOKENS..)?.first_chunk()
    }

    /// Gives all blocks back, the last one first. The sequence has to begin anew.
    fn vacate(&mut self, pool: &mut BlockPool) {
        self.blocks.drain(..).rev().for_each(|block| pool.release(block));
        self.computed = 0;
        self.published = 0;
        self.beginning = None;
        self.generating = false;
    }

    /// Takes the published blocks that the text goes on with; returns the number of tokens that need not be computed.
    fn adopt(&mut self, pool: &mut BlockPool) -> usize {
        let before = self.computed;
        loop {
            let end = (self.published + 1) * BLOCK_TOKENS;
            // One token has to be computed, for its logits.
            let Some(text) = self.next_text().filter(|_| end < self.tokens.len()) else { break };
            let Some(found) = pool.look_up(self.beginning, text) else { break };
            match self.blocks.get_mut(self.published) {
                Some(own) => pool.release(std::mem::replace(own, found.block)),
                None => self.blocks.push(found.block),
            }
            self.published += 1;
            self.beginning = Some(found.id);
            self.computed = end;
        }
        self.computed - before
    }

    /// Lets others find the blocks that have become full.
    fn publish(&mut self, pool: &mut BlockPool) {
        while self.computed >= (self.published + 1) * BLOCK_TOKENS {
            let Some(text) = self.next_text() else { break };
            let own = self.blocks[self.published];
            let Some(found) = pool.publish(self.beginning, text, own) else { break };
            self.blocks[self.published] = found.block;
            self.published += 1;
            self.beginning = Some(found.id);
        }
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
    prefix_work: PrefixWork,
    /// Evictions already told.
    told_evictions: u64,
}

impl Scheduler {
    pub fn new(limits: SchedulerLimits) -> Self {
        Self {
            limits,
            pool: BlockPool::new(limits.blocks, limits.idle_blocks),
            entries: HashMap::new(),
            waiting: BTreeSet::new(),
            running: BTreeSet::new(),
            next_id: 0,
            prefix_work: PrefixWork::default(),
            told_evictions: 0,
        }
    }

    pub fn limits(&self) -> SchedulerLimits {
        self.limits
    }

    /// Most tokens that one sequence can have in a store of `blocks`.
    pub fn longest(blocks: usize) -> usize {
        blocks * BLOCK_TOKENS
    }

    /// Puts a sequence with these known tokens (at least one) into the queue. `now` is the time since any fixed moment.
    ///
    /// The caller bounds the number of sequences (see [`super::admission`]) and keeps each within [`Self::longest`].
    pub fn submit(&mut self, priority: Priority, tokens: Vec<u32>, now: Duration) -> SequenceId {
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        let turn = Turn { due: now + lag(priority), id };
        let entry = Entry {
            priority,
            turn,
            tokens,
            computed: 0,
            blocks: Vec::new(),
            published: 0,
            beginning: None,
            generating: false,
        };
        self.entries.insert(id, entry);
        self.waiting.insert(turn);
        id
    }

    /// Forgets a sequence, waiting or running, and gives back its blocks.
    pub fn remove(&mut self, id: SequenceId) {
        if let Some(mut entry) = self.entries.remove(&id) {
            self.waiting.remove(&entry.turn);
            self.running.remove(&entry.turn);
            entry.vacate(&mut self.pool);
        }
    }

    /// Decides the next step. The caller may add drafts with [`Self::speculate`], computes all of it, and then calls
    /// [`Self::computed`] for each slice.
    pub fn plan(&mut self) -> StepPlan {
        let mut plan = StepPlan::default();
        self.grow(&mut plan.preempted);
        self.admit(&mut plan);
        self.follow(&mut plan);
        plan.slices = self.slices();
        plan
    }

    /// Offers the rows that a step leaves to the sequences in it. `draft` is asked for a draft of a sequence with the most
    /// tokens that it may have, and tells how many it has.
    pub fn speculate(&mut self, plan: &mut StepPlan, mut draft: impl FnMut(SequenceId, usize) -> usize) {
        let rows: usize = plan.slices.iter().map(|slice| slice.length).sum();
        let mut room = self.limits.speculation_rows.saturating_sub(rows);
        let writes = |slice: &Slice| slice.last && self.entries.get(&slice.id).is_some_and(|entry| entry.generating);
        let mut writing: Vec<&mut Slice> = plan.slices.iter_mut().filter(|slice| writes(slice)).collect();
        let mut others = writing.len();
        for slice in &mut writing {
            let share = room.div_ceil(others);
            others -= 1;
            let known = slice.start + slice.length;
            // Every running sequence may need a block in the next step.
            let spare = self.pool.available().saturating_sub(self.running.len());
            let covered = (self.blocks(slice.id).len() + spare) * BLOCK_TOKENS;
            let most = share.min(covered.saturating_sub(known));
            if most > 0 {
                slice.drafts = draft(slice.id, most).min(most);
                room -= slice.drafts;
                let missing = blocks_for(known + slice.drafts).saturating_sub(self.blocks(slice.id).len());
                self.take_blocks(slice.id, missing);
            }
        }
    }

    /// The keys and values of a slice are in the store, and the tokens `chosen` are now known, of which the first `kept`
    /// had been drafted and computed. The other drafts are as if they had never been.
    pub fn computed(&mut self, slice: &Slice, kept: usize, chosen: &[u32]) {
        if let Some(entry) = self.entries.get_mut(&slice.id) {
            entry.tokens.extend_from_slice(chosen);
            entry.computed = slice.start + slice.length + kept;
            entry.generating |= slice.last;
            entry.publish(&mut self.pool);
        }
    }

    /// A sequence's known tokens.
    pub fn tokens(&self, id: SequenceId) -> &[u32] {
        self.entries.get(&id).map_or(&[], |entry| &entry.tokens)
    }

    /// What the cache of common beginnings did since this was last asked.
    pub fn take_prefix_work(&mut self) -> PrefixWork {
        let evictions = self.pool.evictions();
        let new = evictions - std::mem::replace(&mut self.told_evictions, evictions);
        PrefixWork { evictions: new as usize, ..std::mem::take(&mut self.prefix_work) }
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

    /// Blocks held by sequences.
    pub fn blocks_in_use(&self) -> usize {
        self.pool.in_use()
    }

    /// Blocks that nobody holds and that are kept for their contents.
    pub fn blocks_idle(&self) -> usize {
        self.pool.idle()
    }

    /// Gives the running sequences the blocks for their known tokens, the earliest turn first.
    fn grow(&mut self, preempted: &mut Vec<SequenceId>) {
        let turns: Vec<Turn> = self.running.iter().copied().collect();
        for turn in turns {
            while self.running.contains(&turn) && self.missing_blocks(turn.id) > 0 {
                if self.pool.available() > 0 {
                    self.take_blocks(turn.id, 1);
                } else if let Some(&latest) = self.running.last() {
                    self.preempt(latest, preempted);
                }
            }
        }
    }

    fn admit(&mut self, plan: &mut StepPlan) {
        while let Some(&head) = self.waiting.first() {
            // Held before anything is preempted or evicted for the sequence.
            let reused = self.adopt(head.id);
            let missing = self.missing_blocks(head.id);
            while !self.has_room(missing) {
                match self.victim_of(head) {
                    Some(victim) => self.preempt(victim, &mut plan.preempted),
                    None => {
                        if let Some(entry) = self.entries.get_mut(&head.id) {
                            entry.vacate(&mut self.pool);
                        }
                        return;
                    }
                }
            }
            self.take_blocks(head.id, missing);
            self.waiting.remove(&head);
            self.running.insert(head);
            self.prefix_work.lookups += 1;
            self.prefix_work.tokens += self.tokens(head.id).len();
            self.note_reuse(head.id, reused, plan);
        }
    }

    /// Lets sequences that read their prompt skip what another one has computed since they were admitted.
    fn follow(&mut self, plan: &mut StepPlan) {
        let reading = |turn: &&Turn| {
            self.entries.get(&turn.id).is_some_and(|entry| !entry.generating && entry.pending() > BLOCK_TOKENS)
        };
        let turns: Vec<Turn> = self.running.iter().filter(reading).copied().collect();
        for turn in turns {
            let reused = self.adopt(turn.id);
            self.note_reuse(turn.id, reused, plan);
        }
    }

    fn adopt(&mut self, id: SequenceId) -> usize {
        self.entries.get_mut(&id).map_or(0, |entry| entry.adopt(&mut self.pool))
    }

    fn note_reuse(&mut self, id: SequenceId, tokens: usize, plan: &mut StepPlan) {
        if tokens > 0 {
            self.prefix_work.hits += tokens;
            plan.reused.push((id, tokens));
        }
    }

    fn has_room(&self, blocks: usize) -> bool {
        self.running.len() < self.limits.max_sequences && self.pool.available() >= blocks
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
            entry.vacate(&mut self.pool);
        }
    }

    fn missing_blocks(&self, id: SequenceId) -> usize {
        self.entries.get(&id).map_or(0, |entry| blocks_for(entry.tokens.len()).saturating_sub(entry.blocks.len()))
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
                let last = entry.computed + length == entry.tokens.len();
                slices.push(Slice { id: entry.turn.id, start: entry.computed, length, last, drafts: 0 });
            }
        }
        slices
    }
}

#[cfg(test)]
#[path = "tests/scheduler.rs"]
mod tests;

#[cfg(test)]
#[path = "tests/scheduler_properties.rs"]
mod properties;
