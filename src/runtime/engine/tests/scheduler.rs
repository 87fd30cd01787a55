use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn scheduler(blocks: usize, max_sequences: usize, prefill_chunk: usize) -> Scheduler {
    let (idle_blocks, speculation_rows) = (0, 0);
    Scheduler::new(SchedulerLimits { blocks, max_sequences, prefill_chunk, idle_blocks, speculation_rows })
}

/// A scheduler that shares blocks, with room for many sequences.
fn sharing(blocks: usize, prefill_chunk: usize) -> Scheduler {
    let (max_sequences, speculation_rows) = (16, 0);
    Scheduler::new(SchedulerLimits { blocks, max_sequences, prefill_chunk, idle_blocks: blocks, speculation_rows })
}

/// A text of so many tokens; of two texts, the longer one begins with the shorter one.
fn text(tokens: usize) -> Vec<u32> {
    (0..tokens as u32).collect()
}

fn at(seconds: u32) -> Duration {
    SECOND * seconds
}

/// Plans a step, computes it, and gives each sequence that reached its end one more token.
fn step(scheduler: &mut Scheduler) -> StepPlan {
    let plan = scheduler.plan();
    for slice in &plan.slices {
        scheduler.computed(slice, 0, if slice.last { &[7] } else { &[] });
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
    let ids: Vec<SequenceId> = (0..12).map(|_| scheduler.submit(Priority::Interactive, text(10), at(0))).collect();
    let plan = step(&mut scheduler);
    assert_eq!(shape(&plan), ids.iter().map(|&id| (id, 0, 10)).collect::<Vec<_>>());
    assert!(plan.slices.iter().all(|slice| slice.last));
    assert_eq!(shape(&step(&mut scheduler)), ids.iter().map(|&id| (id, 10, 1)).collect::<Vec<_>>());
}

#[test]
fn a_long_prompt_is_computed_in_chunks_beside_decoding() {
    let mut scheduler = scheduler(64, 4, 100);
    let early = scheduler.submit(Priority::Interactive, text(5), at(0));
    step(&mut scheduler);
    let long = scheduler.submit(Priority::Interactive, text(250), at(1));
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
    let first = scheduler.submit(Priority::Interactive, text(70), at(0));
    let second = scheduler.submit(Priority::Interactive, text(70), at(0));
    assert_eq!(shape(&step(&mut scheduler)), [(first, 0, 70), (second, 0, 30)]);
    assert_eq!(shape(&step(&mut scheduler)), [(first, 70, 1), (second, 30, 40)]);
}

#[test]
fn forced_tokens_come_before_prompts() {
    let mut scheduler = scheduler(64, 4, 10);
    let older = scheduler.submit(Priority::Interactive, text(35), at(0));
    let forced = scheduler.submit(Priority::Crisis, text(4), at(1));
    for slice in scheduler.plan().slices {
        scheduler.computed(&slice, 0, if slice.id == forced { &[7; 6] } else { &[] });
    }
    assert_eq!(shape(&step(&mut scheduler)), [(forced, 4, 6), (older, 6, 4)]);
}

#[test]
fn within_a_priority_it_is_first_come_first_served() {
    let mut scheduler = scheduler(64, 1, 256);
    let ids: Vec<SequenceId> = (0..3).map(|_| scheduler.submit(Priority::Batch, text(3), at(0))).collect();
    for id in ids {
        assert_eq!(shape(&step(&mut scheduler)), [(id, 0, 3)]);
        scheduler.remove(id);
    }
}

#[test]
fn higher_priorities_overtake() {
    let mut scheduler = scheduler(64, 1, 256);
    let batch = scheduler.submit(Priority::Batch, text(3), at(0));
    let interactive = scheduler.submit(Priority::Interactive, text(3), at(1));
    let crisis = scheduler.submit(Priority::Crisis, text(3), at(2));
    for id in [crisis, interactive, batch] {
        assert_eq!(shape(&step(&mut scheduler)), [(id, 0, 3)]);
        scheduler.remove(id);
    }
}

#[test]
fn who_has_waited_long_enough_is_not_overtaken() {
    let mut scheduler = scheduler(64, 1, 256);
    let batch = scheduler.submit(Priority::Batch, text(3), at(0));
    let interactive = scheduler.submit(Priority::Interactive, text(3), at(61));
    let crisis = scheduler.submit(Priority::Crisis, text(3), at(181));
    for id in [batch, interactive, crisis] {
        assert_eq!(shape(&step(&mut scheduler)), [(id, 0, 3)]);
        scheduler.remove(id);
    }
}

#[test]
fn a_long_prompt_at_the_head_is_not_passed_by() {
    let mut scheduler = scheduler(4, 4, 256);
    let running = scheduler.submit(Priority::Interactive, text(2 * BLOCK_TOKENS), at(0));
    step(&mut scheduler);
    let long = scheduler.submit(Priority::Interactive, text(3 * BLOCK_TOKENS), at(1));
    scheduler.submit(Priority::Interactive, text(3), at(2));
    assert_eq!(shape(&step(&mut scheduler)), [(running, 64, 1)]);
    scheduler.remove(running);
    assert_eq!(step(&mut scheduler).slices[0].id, long);
}

#[test]
fn a_crisis_makes_room_for_itself() {
    let mut scheduler = scheduler(64, 2, 256);
    let first = scheduler.submit(Priority::Interactive, text(3), at(0));
    let second = scheduler.submit(Priority::Interactive, text(3), at(1));
    step(&mut scheduler);
    let crisis = scheduler.submit(Priority::Crisis, text(5), at(2));
    let plan = step(&mut scheduler);
    assert_eq!(plan.preempted, [second]);
    assert_eq!(shape(&plan), [(first, 3, 1), (crisis, 0, 5)]);
    scheduler.remove(crisis);
    assert_eq!(shape(&step(&mut scheduler)), [(first, 4, 1), (second, 0, 4)]);
}

#[test]
fn a_crisis_does_not_preempt_a_crisis() {
    let mut scheduler = scheduler(64, 1, 256);
    let first = scheduler.submit(Priority::Crisis, text(3), at(0));
    step(&mut scheduler);
    scheduler.submit(Priority::Crisis, text(3), at(1));
    let plan = step(&mut scheduler);
    assert_eq!((plan.preempted.len(), shape(&plan)), (0, vec![(first, 3, 1)]));
}

#[test]
fn an_empty_pool_preempts_the_latest_turn_which_is_computed_again() {
    let mut scheduler = scheduler(2, 4, 256);
    let first = scheduler.submit(Priority::Interactive, text(BLOCK_TOKENS - 1), at(0));
    let second = scheduler.submit(Priority::Interactive, text(BLOCK_TOKENS - 1), at(1));
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
    let running = scheduler.submit(Priority::Interactive, text(100), at(0));
    let waiting = scheduler.submit(Priority::Interactive, text(100), at(0));
    step(&mut scheduler);
    assert_eq!((scheduler.blocks_in_use(), scheduler.waiting()), (4, 1));
    scheduler.remove(waiting);
    scheduler.remove(running);
    assert_eq!((scheduler.blocks_in_use(), scheduler.waiting(), scheduler.running().len()), (0, 0, 0));
    assert_eq!(scheduler.plan(), StepPlan::default());
}

#[test]
fn a_beginning_that_was_computed_before_is_not_computed_again() {
    let mut scheduler = sharing(64, 256);
    let first = scheduler.submit(Priority::Interactive, text(100), at(0));
    step(&mut scheduler);
    scheduler.remove(first);
    assert_eq!((scheduler.blocks_in_use(), scheduler.blocks_idle()), (0, 3));
    let same = scheduler.submit(Priority::Interactive, text(100), at(1));
    let longer = scheduler.submit(Priority::Interactive, text(150), at(1));
    let other = scheduler.submit(Priority::Interactive, text(101)[1..].to_vec(), at(1));
    let plan = step(&mut scheduler);
    assert_eq!(shape(&plan), [(same, 96, 4), (longer, 96, 54), (other, 0, 100)]);
    assert_eq!(plan.reused, [(same, 96), (longer, 96)]);
    let work = scheduler.take_prefix_work();
    assert_eq!(work, PrefixWork { lookups: 4, tokens: 450, hits: 192, evictions: 0 });
    assert_eq!(scheduler.take_prefix_work(), PrefixWork::default());
}

#[test]
fn the_last_known_token_is_always_computed() {
    let mut scheduler = sharing(64, 256);
    scheduler.submit(Priority::Interactive, text(2 * BLOCK_TOKENS), at(0));
    step(&mut scheduler);
    let same = scheduler.submit(Priority::Interactive, text(2 * BLOCK_TOKENS), at(1));
    assert_eq!(shape(&step(&mut scheduler))[1], (same, BLOCK_TOKENS, BLOCK_TOKENS));
}

#[test]
fn running_sequences_hold_the_same_full_blocks_and_write_their_own() {
    let mut scheduler = sharing(64, 256);
    let first = scheduler.submit(Priority::Interactive, text(70), at(0));
    step(&mut scheduler);
    let second = scheduler.submit(Priority::Interactive, text(70), at(1));
    step(&mut scheduler);
    let (first, second) = (scheduler.blocks(first), scheduler.blocks(second));
    assert_eq!(first[..2], second[..2]);
    assert_ne!(first[2], second[2]);
    assert_eq!(scheduler.blocks_in_use(), 4);
}

#[test]
fn of_two_that_come_at_once_the_second_follows_the_first() {
    let mut scheduler = sharing(64, 64);
    let first = scheduler.submit(Priority::Interactive, text(200), at(0));
    let second = scheduler.submit(Priority::Interactive, text(200), at(0));
    for start in [0, 64, 128] {
        assert_eq!(shape(&step(&mut scheduler)), [(first, start, 64)]);
    }
    assert_eq!(shape(&step(&mut scheduler)), [(first, 192, 8), (second, 192, 8)]);
    assert_eq!(scheduler.take_prefix_work().hits, 192);
    assert_eq!(scheduler.blocks_in_use(), 8);
}

#[test]
fn what_two_computed_at_once_is_kept_once() {
    let mut scheduler = sharing(64, 256);
    let first = scheduler.submit(Priority::Interactive, text(70), at(0));
    let second = scheduler.submit(Priority::Interactive, text(70), at(0));
    assert_eq!(shape(&step(&mut scheduler)), [(first, 0, 70), (second, 0, 70)]);
    assert_eq!(scheduler.blocks(first)[..2], scheduler.blocks(second)[..2]);
    assert_eq!(scheduler.blocks_in_use(), 4);
}

#[test]
fn a_preempted_sequence_finds_its_blocks_again() {
    let mut scheduler = sharing(64, 256);
    scheduler.limits.max_sequences = 1;
    let first = scheduler.submit(Priority::Interactive, text(70), at(0));
    step(&mut scheduler);
    let crisis = scheduler.submit(Priority::Crisis, vec![7; 5], at(1));
    assert_eq!(step(&mut scheduler).preempted, [first]);
    scheduler.remove(crisis);
    assert_eq!(shape(&step(&mut scheduler)), [(first, 64, 7)]);
}

#[test]
fn cached_blocks_count_as_free_and_go_when_they_are_needed() {
    let mut scheduler = sharing(4, 256);
    let first = scheduler.submit(Priority::Interactive, text(100), at(0));
    step(&mut scheduler);
    scheduler.remove(first);
    let other = scheduler.submit(Priority::Interactive, vec![7; 70], at(1));
    assert_eq!(shape(&step(&mut scheduler)), [(other, 0, 70)]);
    scheduler.remove(other);
    assert_eq!(scheduler.take_prefix_work().evictions, 2);
    let again = scheduler.submit(Priority::Interactive, text(100), at(2));
    assert_eq!(shape(&step(&mut scheduler)), [(again, 32, 68)], "the end of a text goes before its beginning");
}

#[test]
fn a_sequence_that_waits_holds_no_blocks() {
    let mut scheduler = sharing(6, 256);
    let running = scheduler.submit(Priority::Interactive, text(100), at(0));
    step(&mut scheduler);
    let waiting = scheduler.submit(Priority::Interactive, text(250), at(1));
    assert_eq!(shape(&step(&mut scheduler)), [(running, 100, 1)]);
    assert!(scheduler.blocks(waiting).is_empty());
    assert_eq!(scheduler.blocks_in_use(), 4);
}

/// A scheduler with room for drafts.
fn speculating(blocks: usize, speculation_rows: usize) -> Scheduler {
    let (max_sequences, prefill_chunk) = (16, 256);
    Scheduler::new(SchedulerLimits { blocks, max_sequences, prefill_chunk, idle_blocks: blocks, speculation_rows })
}

/// Most drafted tokens that each sequence of the next step is offered, when each takes `wanted`.
fn offers(scheduler: &mut Scheduler, wanted: usize) -> Vec<(SequenceId, usize)> {
    let mut plan = scheduler.plan();
    let mut offers = Vec::new();
    scheduler.speculate(&mut plan, |id, most| {
        offers.push((id, most));
        wanted
    });
    offers
}

#[test]
fn drafts_share_the_rows_that_a_step_leaves() {
    let mut scheduler = speculating(64, 8);
    let ids: Vec<SequenceId> = (0..3).map(|_| scheduler.submit(Priority::Interactive, text(5), at(0))).collect();
    assert_eq!(offers(&mut scheduler, 9), [], "prompts are no place for guesses");
    step(&mut scheduler);
    assert_eq!(offers(&mut scheduler, 9), [(ids[0], 2), (ids[1], 2), (ids[2], 1)]);
    assert_eq!(offers(&mut scheduler, 0), [(ids[0], 2), (ids[1], 3), (ids[2], 5)], "what one leaves is for the others");
    scheduler.remove(ids[0]);
    scheduler.remove(ids[1]);
    assert_eq!(offers(&mut scheduler, 9), [(ids[2], 7)]);
    scheduler.submit(Priority::Interactive, vec![7; 50], at(1));
    assert_eq!(offers(&mut scheduler, 9), [], "a prompt fills the step");
}

#[test]
fn drafts_do_not_take_the_blocks_that_others_need() {
    let mut scheduler = speculating(4, 40);
    let first = scheduler.submit(Priority::Interactive, vec![1; BLOCK_TOKENS - 3], at(0));
    let second = scheduler.submit(Priority::Interactive, vec![2; BLOCK_TOKENS - 5], at(0));
    step(&mut scheduler);
    assert_eq!(offers(&mut scheduler, 40), [(first, 2), (second, 4)]);
    scheduler.remove(second);
    assert_eq!(offers(&mut scheduler, 40), [(first, 39)]);
    assert_eq!(scheduler.blocks_in_use(), 3);
}

#[test]
fn drafts_that_were_wrong_are_computed_again() {
    let mut scheduler = speculating(8, 8);
    let id = scheduler.submit(Priority::Interactive, text(30), at(0));
    step(&mut scheduler);
    let mut plan = scheduler.plan();
    scheduler.speculate(&mut plan, |_, _| 5);
    assert_eq!((plan.slices[0].start, plan.slices[0].length, plan.slices[0].drafts), (30, 1, 5));
    scheduler.computed(&plan.slices[0], 2, &[40, 41, 42]);
    assert_eq!(shape(&scheduler.plan()), [(id, 33, 1)]);
    assert_eq!(scheduler.tokens(id)[30..], [7, 40, 41, 42]);
}
