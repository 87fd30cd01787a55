use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

fn text(value: u32) -> BlockText {
    [value; BLOCK_TOKENS]
}

/// A pool of `capacity` blocks that shares all of them.
fn sharing(capacity: usize) -> BlockPool {
    BlockPool::new(capacity, capacity)
}

#[test]
fn every_block_is_handed_out_once_and_then_none() {
    let mut pool = sharing(5);
    let blocks: HashSet<BlockId> = std::iter::from_fn(|| pool.allocate()).collect();
    assert_eq!(blocks.len(), 5);
    assert_eq!((pool.available(), pool.in_use()), (0, 5));
}

#[test]
fn a_released_block_can_be_handed_out_again() {
    let mut pool = sharing(1);
    let block = pool.allocate().unwrap();
    assert_eq!(pool.allocate(), None);
    pool.release(block);
    assert_eq!(pool.allocate(), Some(block));
}

#[test]
fn a_shared_block_is_in_use_until_its_last_holder_lets_go() {
    let mut pool = sharing(1);
    let block = pool.allocate().unwrap();
    pool.publish(None, &text(1), block).unwrap();
    assert_eq!(pool.look_up(None, &text(1)).unwrap().block, block);
    pool.release(block);
    assert_eq!((pool.in_use(), pool.allocate()), (1, None));
    pool.release(block);
    assert_eq!((pool.in_use(), pool.idle()), (0, 1));
}

#[test]
fn a_block_that_nobody_holds_is_found_until_its_place_is_needed() {
    let mut pool = sharing(2);
    let block = pool.allocate().unwrap();
    pool.publish(None, &text(1), block).unwrap();
    pool.release(block);
    assert_eq!(pool.available(), 2);
    let other = pool.allocate().unwrap();
    assert_ne!(other, block, "a free block is taken before a cached one");
    assert_eq!((pool.allocate(), pool.evictions()), (Some(block), 1));
    assert_eq!(pool.look_up(None, &text(1)), None);
}

#[test]
fn of_two_blocks_with_the_same_text_one_stays() {
    let mut pool = sharing(2);
    let (first, second) = (pool.allocate().unwrap(), pool.allocate().unwrap());
    let published = pool.publish(None, &text(1), first).unwrap();
    assert_eq!(pool.publish(None, &text(1), second), Some(published));
    assert_eq!((pool.in_use(), pool.idle()), (1, 0));
    assert_eq!(pool.allocate(), Some(second));
}

#[test]
fn without_room_for_idle_blocks_nothing_is_shared() {
    let mut pool = BlockPool::new(2, 0);
    let block = pool.allocate().unwrap();
    assert_eq!(pool.publish(None, &text(1), block), None);
    assert_eq!(pool.look_up(None, &text(1)), None);
}

#[test]
#[should_panic(expected = "released twice")]
fn a_double_release_is_refused() {
    let mut pool = sharing(1);
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

/// A holder's blocks, all full: the published ones (with the id of the last), then perhaps one that is being written.
#[derive(Debug, Default)]
struct Holder {
    texts: Vec<u32>,
    blocks: Vec<BlockId>,
    last: Option<PrefixId>,
    writing: Option<BlockId>,
}

#[derive(Clone, Debug)]
enum Happening {
    Arrive,
    /// Looks a text up behind what the holder has.
    Find(usize, u32),
    Write(usize),
    Publish(usize, u32),
    Leave(usize),
}

fn happening() -> impl Strategy<Value = Happening> {
    let (holder, value) = (0usize..6, 0u32..3);
    prop_oneof![
        1 => Just(Happening::Arrive),
        3 => (holder.clone(), value.clone()).prop_map(|(holder, value)| Happening::Find(holder, value)),
        3 => holder.clone().prop_map(Happening::Write),
        3 => (holder.clone(), value).prop_map(|(holder, value)| Happening::Publish(holder, value)),
        1 => holder.prop_map(Happening::Leave),
    ]
}

/// What the store would hold: for each block all the text up to its end, or nothing while it is being written.
type Store = HashMap<BlockId, Vec<u32>>;

fn apply(pool: &mut BlockPool, holders: &mut Vec<Holder>, store: &mut Store, happening: Happening) {
    match happening {
        Happening::Arrive => holders.push(Holder::default()),
        Happening::Find(nth, value) => {
            let Some(holder) = holders.get_mut(nth).filter(|holder| holder.writing.is_none()) else { return };
            let Some(found) = pool.look_up(holder.last, &text(value)) else { return };
            holder.texts.push(value);
            holder.blocks.push(found.block);
            holder.last = Some(found.id);
            assert_eq!(store.get(&found.block), Some(&holder.texts), "found what was not asked for");
        }
        Happening::Write(nth) => {
            let Some(holder) = holders.get_mut(nth).filter(|holder| holder.writing.is_none()) else { return };
            holder.writing = pool.allocate();
            if let Some(block) = holder.writing {
                store.remove(&block);
            }
        }
        Happening::Publish(nth, value) => {
            let Some(holder) = holders.get_mut(nth) else { return };
            let Some(block) = holder.writing.take() else { return };
            holder.texts.push(value);
            store.insert(block, holder.texts.clone());
            let published = pool.publish(holder.last, &text(value), block).unwrap();
            holder.blocks.push(published.block);
            holder.last = Some(published.id);
        }
        Happening::Leave(nth) => {
            if nth < holders.len() {
                let Holder { blocks, writing, .. } = holders.swap_remove(nth);
                blocks.into_iter().chain(writing).rev().for_each(|block| pool.release(block));
            }
        }
    }
}

proptest! {
    /// Whatever happens: each block is free, idle or held, exactly as often as somebody has it; what somebody holds keeps
    /// its contents; what is written belongs to one alone; when all have left, every block can be handed out.
    #[test]
    fn the_books_balance(most_idle in 1usize..9, happenings in prop::collection::vec(happening(), 1..200)) {
        let mut pool = BlockPool::new(8, most_idle);
        let (mut holders, mut store) = (Vec::new(), Store::new());
        for happening in happenings {
            apply(&mut pool, &mut holders, &mut store, happening);
            let mut expected = vec![0; pool.capacity()];
            for block in holders.iter().flat_map(|holder| holder.blocks.iter().chain(&holder.writing)) {
                expected[block.0 as usize] += 1;
            }
            prop_assert_eq!(&pool.holders, &expected);
            prop_assert_eq!(pool.in_use(), expected.iter().filter(|&&count| count > 0).count());
            prop_assert!(pool.idle() <= most_idle);
            for holder in &holders {
                for (index, block) in holder.blocks.iter().enumerate() {
                    prop_assert_eq!(store.get(block).map(Vec::as_slice), Some(&holder.texts[..=index]));
                }
                if let Some(block) = holder.writing {
                    prop_assert_eq!(expected[block.0 as usize], 1);
                }
            }
        }
        while !holders.is_empty() {
            apply(&mut pool, &mut holders, &mut store, Happening::Leave(0));
        }
        prop_assert_eq!(pool.available(), pool.capacity());
        let all: HashSet<BlockId> = std::iter::from_fn(|| pool.allocate()).collect();
        prop_assert_eq!(all.len(), pool.capacity());
    }
}
