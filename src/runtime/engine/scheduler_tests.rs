use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn scheduler(blocks: usize, max_sequences: usize, prefill_chunk: usize) -> Scheduler {
    Scheduler::new(SchedulerLimits { blocks, max_sequences, prefill_chunk })
}

fn at(seconds: u32) -> Duration {
    SECOND * seconds
}

/// Plans a step, computes it, and gives each sequence that reached its end one more token.
fn step(scheduler: &mut Scheduler) -> StepPlan {
    let plan = scheduler.plan();
    for slice in &plan.slices {
        scheduler.computed(slice);
        if slice.last {
            scheduler.extend(slice.id, 1);
        }
    }
    plan
}

/// Sequence, start and length of each slice of a step.
fn shape(plan: &StepPlan) -> Vec<(SequenceId, usize, usize)> {
    plan.slices.iter().map(|slice| (slice.id, slice.start, slice.length)).collect()
}

#[test]
fn many_short_prompts_run_in_one_batch() {
    let mut scheduler = scheduler(64, 16, 256);
    let ids: Vec<SequenceId> = (0..12).map(|_| scheduler.submit(Priority::Interactive, 10, at(0))).collect();
    let plan = step(&mut scheduler);
    assert_eq!(shape(&plan), ids.iter().map(|&id| (id, 0, 10)).collect::<Vec<_>>());
    assert!(plan.slices.iter().all(|slice| slice.last));
    assert_eq!(shape(&step(&mut scheduler)), ids.iter().map(|&id| (id, 10, 1)).collect::<Vec<_>>());
}

#[test]
fn a_long_prompt_is_computed_in_chunks_beside_decoding() {
    let mut scheduler = scheduler(64, 4, 100);
    let early = scheduler.submit(Priority::Interactive, 5, at(0));
    step(&mut scheduler);
    let long = scheduler.submit(Priority::Interactive, 250, at(1));
    assert_eq!(shape(&step(&mut scheduler)), [(early, 5, 1), (long, 0, 100)]);
    assert_eq!(shape(&step(&mut scheduler)), [(early, 6, 1), (long, 100, 100)]);
    let third = step(&mut scheduler);
    assert_eq!(shape(&third), [(early, 7, 1), (long, 200, 50)]);
    assert!(third.slices[1].last);
    assert_eq!(shape(&step(&mut scheduler)), [(early, 8, 1), (long, 250, 1)]);
}

#[test]
fn prompts_share_the_chunk_in_order() {
    let mut scheduler = scheduler(64, 4, 100);
    let first = scheduler.submit(Priority::Interactive, 70, at(0));
    let second = scheduler.submit(Priority::Interactive, 70, at(0));
    assert_eq!(shape(&step(&mut scheduler)), [(first, 0, 70), (second, 0, 30)]);
    assert_eq!(shape(&step(&mut scheduler)), [(first, 70, 1), (second, 30, 40)]);
}

#[test]
fn forced_tokens_come_before_prompts() {
    let mut scheduler = scheduler(64, 4, 10);
    let older = scheduler.submit(Priority::Interactive, 35, at(0));
    let forced = scheduler.submit(Priority::Crisis, 4, at(1));
    step(&mut scheduler);
    scheduler.extend(forced, 5);
    assert_eq!(shape(&step(&mut scheduler)), [(forced, 4, 6), (older, 6, 4)]);
}

#[test]
fn within_a_priority_it_is_first_come_first_served() {
    let mut scheduler = scheduler(64, 1, 256);
    let ids: Vec<SequenceId> = (0..3).map(|_| scheduler.submit(Priority::Batch, 3, at(0))).collect();
    for id in ids {
        assert_eq!(shape(&step(&mut scheduler)), [(id, 0, 3)]);
        scheduler.remove(id);
    }
}

#[test]
fn higher_priorities_overtake() {
    let mut scheduler = scheduler(64, 1, 256);
    let batch = scheduler.submit(Priority::Batch, 3, at(0));
    let interactive = scheduler.submit(Priority::Interactive, 3, at(1));
    let crisis = scheduler.submit(Priority::Crisis, 3, at(2));
    for id in [crisis, interactive, batch] {
        assert_eq!(shape(&step(&mut scheduler)), [(id, 0, 3)]);
        scheduler.remove(id);
    }
}

#[test]
fn who_has_waited_long_enough_is_not_overtaken() {
    let mut scheduler = scheduler(64, 1, 256);
    let batch = scheduler.submit(Priority::Batch, 3, at(0));
    let interactive = scheduler.submit(Priority::Interactive, 3, at(61));
    let crisis = scheduler.submit(Priority::Crisis, 3, at(181));
    for id in [batch, interactive, crisis] {
        assert_eq!(shape(&step(&mut scheduler)), [(id, 0, 3)]);
        scheduler.remove(id);
    }
}

#[test]
fn a_long_prompt_at_the_head_is_not_passed_by() {
    let mut scheduler = scheduler(4, 4, 256);
    let running = scheduler.submit(Priority::Interactive, 2 * BLOCK_TOKENS, at(0));
    step(&mut scheduler);
    let long = scheduler.submit(Priority::Interactive, 3 * BLOCK_TOKENS, at(1));
    scheduler.submit(Priority::Interactive, 3, at(2));
    assert_eq!(shape(&step(&mut scheduler)), [(running, 64, 1)]);
    scheduler.remove(running);
    assert_eq!(step(&mut scheduler).slices[0].id, long);
}

#[test]
fn a_crisis_makes_room_for_itself() {
    let mut scheduler = scheduler(64, 2, 256);
    let first = scheduler.submit(Priority::Interactive, 3, at(0));
    let second = scheduler.submit(Priority::Interactive, 3, at(1));
    step(&mut scheduler);
    let crisis = scheduler.submit(Priority::Crisis, 5, at(2));
    let plan = step(&mut scheduler);
    assert_eq!(plan.preempted, [second]);
    assert_eq!(shape(&plan), [(first, 3, 1), (crisis, 0, 5)]);
    scheduler.remove(crisis);
    assert_eq!(shape(&step(&mut scheduler)), [(first, 4, 1), (second, 0, 4)]);
}

#[test]
fn a_crisis_does_not_preempt_a_crisis() {
    let mut scheduler = scheduler(64, 1, 256);
    let first = scheduler.submit(Priority::Crisis, 3, at(0));
    step(&mut scheduler);
    scheduler.submit(Priority::Crisis, 3, at(1));
    let plan = step(&mut scheduler);
    assert_eq!((plan.preempted.len(), shape(&plan)), (0, vec![(first, 3, 1)]));
}

#[test]
fn an_empty_pool_preempts_the_latest_turn_which_is_computed_again() {
    let mut scheduler = scheduler(2, 4, 256);
    let first = scheduler.submit(Priority::Interactive, BLOCK_TOKENS - 1, at(0));
    let second = scheduler.submit(Priority::Interactive, BLOCK_TOKENS - 1, at(1));
    step(&mut scheduler);
    step(&mut scheduler);
    let plan = step(&mut scheduler);
    assert_eq!(plan.preempted, [second]);
    assert_eq!(shape(&plan), [(first, BLOCK_TOKENS, 1)]);
    scheduler.remove(first);
    assert_eq!(shape(&step(&mut scheduler)), [(second, 0, BLOCK_TOKENS + 1)]);
}

#[test]
fn a_removed_sequence_gives_back_its_blocks() {
    let mut scheduler = scheduler(8, 1, 256);
    let running = scheduler.submit(Priority::Interactive, 100, at(0));
    let waiting = scheduler.submit(Priority::Interactive, 100, at(0));
    step(&mut scheduler);
    assert_eq!((scheduler.blocks_in_use(), scheduler.waiting()), (4, 1));
    scheduler.remove(waiting);
    scheduler.remove(running);
    assert_eq!((scheduler.blocks_in_use(), scheduler.waiting(), scheduler.running().len()), (0, 0, 0));
    assert_eq!(scheduler.plan(), StepPlan::default());
}

#[derive(Clone, Debug)]
enum Happening {
    Submit(Priority, usize),
    Remove(usize),
    Step,
}

fn happening() -> impl Strategy<Value = Happening> {
    let priority = prop_oneof![Just(Priority::Batch), Just(Priority::Interactive), Just(Priority::Crisis)];
    prop_oneof![
        2 => (priority, 1usize..150).prop_map(|(priority, tokens)| Happening::Submit(priority, tokens)),
        1 => (0usize..8).prop_map(Happening::Remove),
        6 => Just(Happening::Step),
    ]
}

proptest! {
    /// Whatever happens: no block belongs to two sequences, each slice is covered by blocks, the limits hold, and while
    /// there are sequences each step computes something; all end.
    #[test]
    fn the_engine_always_gets_on(happenings in prop::collection::vec(happening(), 1..120)) {
        let (blocks, max_sequences, chunk) = (6, 3, 40);
        let mut scheduler = scheduler(blocks, max_sequences, chunk);
        let longest = Scheduler::longest(blocks);
        let mut alive: HashMap<SequenceId, usize> = HashMap::new();
        let drain = std::iter::repeat_n(Happening::Step, 20_000);
        for (index, happening) in happenings.into_iter().chain(drain).enumerate() {
            match happening {
                Happening::Submit(priority, tokens) => {
                    let id = scheduler.submit(priority, tokens, Duration::from_secs(index as u64));
                    alive.insert(id, tokens);
                }
                Happening::Remove(nth) => {
                    if let Some(&id) = alive.keys().nth(nth) {
                        alive.remove(&id);
                        scheduler.remove(id);
                    }
                }
                Happening::Step => {
                    let plan = scheduler.plan();
                    prop_assert_eq!(plan.slices.is_empty(), alive.is_empty());
                    prop_assert!(scheduler.running().len() <= max_sequences);
                    let chunked: usize = plan.slices.iter().map(|slice| slice.length).filter(|&length| length > 1).sum();
                    prop_assert!(chunked <= chunk);
                    let owned: Vec<BlockId> = scheduler.running().flat_map(|id| scheduler.blocks(id).to_vec()).collect();
                    let distinct: std::collections::HashSet<BlockId> = owned.iter().copied().collect();
                    prop_assert_eq!(distinct.len(), owned.len());
                    prop_assert_eq!(owned.len(), scheduler.blocks_in_use());
                    for slice in &plan.slices {
                        prop_assert!(slice.start + slice.length <= scheduler.blocks(slice.id).len() * BLOCK_TOKENS);
                        scheduler.computed(slice);
                        if slice.last {
                            let tokens = alive.entry(slice.id).or_default();
                            *tokens += 1;
                            if *tokens < longest {
                                scheduler.extend(slice.id, 1);
                            } else {
                                alive.remove(&slice.id);
                                scheduler.remove(slice.id);
                            }
                        }
                    }
                    if alive.is_empty() && scheduler.waiting() == 0 && index > 200 {
                        break;
                    }
                }
            }
        }
        prop_assert!(alive.is_empty(), "{} sequences never ended", alive.len());
        prop_assert_eq!(scheduler.blocks_in_use(), 0);
    }
}
