//! The scheduler against a store that remembers which token was written where.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Happening {
    /// A sequence of a family; see [`text`].
    Submit(Priority, usize, u32),
    Remove(usize),
    /// A step whose drafts have so many tokens, one of which is wrong.
    Step {
        drafts: usize,
        wrong: usize,
    },
}

fn happening() -> impl Strategy<Value = Happening> {
    let priority = prop_oneof![Just(Priority::Batch), Just(Priority::Interactive), Just(Priority::Crisis)];
    prop_oneof![
        2 => (priority, 1usize..150, 0u32..3).prop_map(|(priority, tokens, family)| Happening::Submit(priority, tokens, family)),
        1 => (0usize..8).prop_map(Happening::Remove),
        6 => (0usize..6, 0usize..6).prop_map(|(drafts, wrong)| Happening::Step { drafts, wrong }),
    ]
}

/// Texts of different families part ways after 0, 45 or 90 tokens.
fn text(tokens: usize, family: u32) -> Vec<u32> {
    (0..tokens as u32).map(|index| if index < 45 * family { index } else { 1_000 * (family + 1) + index }).collect()
}

/// What the model says next.
fn next(tokens: &[u32]) -> u32 {
    tokens.iter().rev().take(3).sum::<u32>() % 7
}

fn limits() -> impl Strategy<Value = SchedulerLimits> {
    (0usize..7, 0usize..12).prop_map(|(idle_blocks, speculation_rows)| SchedulerLimits {
        blocks: 6,
        max_sequences: 3,
        prefill_chunk: 40,
        idle_blocks,
        speculation_rows,
    })
}

struct Simulation {
    scheduler: Scheduler,
    store: Vec<[Option<u32>; BLOCK_TOKENS]>,
    /// The sequences' tokens, as the scheduler should know them.
    alive: HashMap<SequenceId, Vec<u32>>,
}

impl Simulation {
    fn stored(&self, id: SequenceId, positions: usize) -> Vec<Option<u32>> {
        let blocks = self.scheduler.blocks(id);
        (0..positions).map(|at| self.store[blocks[at / BLOCK_TOKENS].0 as usize][at % BLOCK_TOKENS]).collect()
    }

    fn step(&mut self, drafts: usize, wrong: usize) -> Result<(), TestCaseError> {
        let limits = self.scheduler.limits();
        let longest = Scheduler::longest(limits.blocks);
        let mut plan = self.scheduler.plan();
        prop_assert_eq!(plan.slices.is_empty(), self.alive.is_empty());
        prop_assert!(self.scheduler.running().len() <= limits.max_sequences);
        let rows: usize = plan.slices.iter().map(|slice| slice.length).sum();
        let chunked: usize = plan.slices.iter().map(|slice| slice.length).filter(|&length| length > 1).sum();
        prop_assert!(chunked <= limits.prefill_chunk);

        let mut guesses: HashMap<SequenceId, Vec<u32>> = HashMap::new();
        let alive = &self.alive;
        self.scheduler.speculate(&mut plan, |id, most| {
            let mut tokens = alive[&id].clone();
            let known = tokens.len();
            for index in 0..drafts.min(most).min(longest - known - 1) {
                tokens.push(next(&tokens) + u32::from(index == wrong));
            }
            guesses.insert(id, tokens[known..].to_vec());
            tokens.len() - known
        });
        let drafted: usize = plan.slices.iter().map(|slice| slice.drafts).sum();
        prop_assert!(drafted == 0 || rows + drafted <= limits.speculation_rows);

        let running: Vec<SequenceId> = self.scheduler.running().collect();
        let held: HashSet<BlockId> = running.iter().flat_map(|&id| self.scheduler.blocks(id).to_vec()).collect();
        prop_assert_eq!(held.len(), self.scheduler.blocks_in_use());
        prop_assert!(self.scheduler.blocks_idle() <= limits.idle_blocks);
        prop_assert!(self.scheduler.blocks_in_use() + self.scheduler.blocks_idle() <= limits.blocks);

        for slice in &plan.slices {
            self.write(slice, &guesses, &running)?;
        }
        for slice in &plan.slices {
            self.settle(slice, guesses.get(&slice.id).map_or(&[], Vec::as_slice));
        }
        Ok(())
    }

    /// What is read is right, and what is written is nobody else's.
    fn write(
        &mut self,
        slice: &Slice,
        guesses: &HashMap<SequenceId, Vec<u32>>,
        running: &[SequenceId],
    ) -> Result<(), TestCaseError> {
        let known = self.alive[&slice.id].clone();
        prop_assert_eq!(self.scheduler.tokens(slice.id), &known);
        prop_assert!(slice.start < known.len());
        let read: Vec<Option<u32>> = known[..slice.start].iter().copied().map(Some).collect();
        prop_assert_eq!(self.stored(slice.id, slice.start), read);
        let mut tokens = known[slice.start..slice.start + slice.length].to_vec();
        if slice.drafts > 0 {
            tokens.extend(&guesses[&slice.id]);
        }
        prop_assert_eq!(tokens.len(), slice.length + slice.drafts);
        let blocks = self.scheduler.blocks(slice.id).to_vec();
        for (position, token) in (slice.start..).zip(tokens) {
            let block = blocks[position / BLOCK_TOKENS];
            let holders = running.iter().filter(|&&id| self.scheduler.blocks(id).contains(&block)).count();
            prop_assert_eq!(holders, 1, "{:?} is written and shared", block);
            self.store[block.0 as usize][position % BLOCK_TOKENS] = Some(token);
        }
        Ok(())
    }

    fn settle(&mut self, slice: &Slice, guess: &[u32]) {
        if !slice.last {
            return self.scheduler.computed(slice, 0, &[]);
        }
        let drafts = &guess[..slice.drafts];
        let tokens = self.alive.get_mut(&slice.id).unwrap();
        let known = tokens.len();
        loop {
            tokens.push(next(tokens));
            if !drafts.starts_with(&tokens[known..]) {
                break;
            }
        }
        let chosen = tokens[known..].to_vec();
        let kept = drafts.iter().zip(&chosen).take_while(|(drafted, came)| drafted == came).count();
        let ended = tokens.len() >= Scheduler::longest(self.scheduler.limits().blocks);
        self.scheduler.computed(slice, kept, &chosen);
        if ended {
            self.alive.remove(&slice.id);
            self.scheduler.remove(slice.id);
        }
    }
}

proptest! {
    /// Whatever happens: a sequence reads what was written for its own text, no block that is written is held by two, each
    /// slice is covered by blocks, the limits hold, and while there are sequences each step computes something; all end
    /// and give everything back.
    #[test]
    fn the_engine_always_gets_on(limits in limits(), happenings in prop::collection::vec(happening(), 1..120)) {
        let scheduler = Scheduler::new(limits);
        let store = vec![[None; BLOCK_TOKENS]; limits.blocks];
        let mut simulation = Simulation { scheduler, store, alive: HashMap::new() };
        let begin = happenings.len();
        let drain = std::iter::repeat_n(Happening::Step { drafts: 2, wrong: 1 }, 20_000);
        for (index, happening) in happenings.into_iter().chain(drain).enumerate() {
            match happening {
                Happening::Submit(priority, tokens, family) => {
                    let tokens = text(tokens, family);
                    let id = simulation.scheduler.submit(priority, tokens.clone(), Duration::from_secs(index as u64));
                    simulation.alive.insert(id, tokens);
                }
                Happening::Remove(nth) => {
                    if let Some(&id) = simulation.alive.keys().nth(nth) {
                        simulation.alive.remove(&id);
                        simulation.scheduler.remove(id);
                    }
                }
                Happening::Step { drafts, wrong } => simulation.step(drafts, wrong)?,
            }
            if index >= begin && simulation.alive.is_empty() {
                break;
            }
        }
        prop_assert!(simulation.alive.is_empty(), "{} sequences never ended", simulation.alive.len());
        prop_assert_eq!(simulation.scheduler.blocks_in_use(), 0);
    }
}
