//! Guessing the next tokens from the sequence's own text, so that one pass can verify several of them.
//!
//! What follows a passage that occurred before often follows it again: names and formulas of the task, quotations, the
//! fields of a list. The draft is what came after the latest earlier occurrence of the last few tokens (prompt lookup,
//! Saxena 2023; the verification as of Leviathan et al. 2023, arXiv:2211.17192). A pass over a few more rows takes hardly
//! longer than one over a single row, as long as reading the weights is what takes the time.
//!
//! A draft never changes the text. The sampler draws each token from the model's own logits with its own random numbers,
//! as it would without a draft; the draft only decides at how many positions those logits are already known.

/// Tokens that must occur earlier for what follows them to be a draft: most first.
const MATCH_LENGTHS: [usize; 2] = [3, 2];
/// Longest draft.
const LONGEST: usize = 16;
/// A token is worth a row when the chance that the row is used is at least this. A row costs about an eighth of a pass on
/// the machines measured so far, when it is not hidden behind the reading of the weights.
const WORTH: f64 = 0.25;
/// Weight of past trials after one more. Remembers about ten.
const MEMORY: f64 = 0.9;

/// What follows the latest earlier occurrence of the last tokens: up to `most` tokens, none when there is no occurrence.
///
/// O(n) for a history of n tokens, which is microseconds against the milliseconds of a pass.
pub fn continuation(history: &[u32], most: usize) -> Vec<u32> {
    let after = MATCH_LENGTHS.into_iter().find_map(|length| {
        let earlier = history.get(..history.len().checked_sub(1)?)?;
        let last = &history[history.len().checked_sub(length)?..];
        earlier.windows(length).rposition(|window| window == last).map(|start| start + length)
    });
    let Some(after) = after else { return Vec::new() };
    let mut draft: Vec<u32> = Vec::with_capacity(most);
    for index in after..after + most {
        // Beyond the history, the draft goes on with itself: a repetition may go on.
        draft.push(if index < history.len() { history[index] } else { draft[index - history.len()] });
    }
    draft
}

/// Drafts for one sequence, as long as its past drafts were right.
#[derive(Debug)]
pub struct Speculator {
    /// Drafted tokens that came true, and those that were put to the test; older ones weigh less.
    right: f64,
    tried: f64,
    /// The latest guess. The tokens beyond what was worth a row are only compared with what came.
    guess: Vec<u32>,
}

impl Default for Speculator {
    fn default() -> Self {
        Self { right: 1.0, tried: 2.0, guess: Vec::new() }
    }
}

impl Speculator {
    /// A draft of up to `most` tokens that is worth being verified; often none. `accepts` tells how many tokens of a draft
    /// could follow at all.
    pub fn draft(&mut self, history: &[u32], most: usize, accepts: impl FnOnce(&[u32]) -> usize) -> &[u32] {
        let worth = self.worth().min(most);
        // At least one token is guessed at no cost, to notice when guessing pays again.
        self.guess = continuation(history, worth.max(1));
        if !self.guess.is_empty() {
            let accepted = accepts(&self.guess);
            self.guess.truncate(accepted);
        }
        &self.guess[..worth.min(self.guess.len())]
    }

    /// Compares the latest guess with the tokens that came.
    pub fn observe(&mut self, came: &[u32]) {
        let guess = std::mem::take(&mut self.guess);
        for (guessed, came) in guess.iter().zip(came) {
            let right = guessed == came;
            self.right = self.right * MEMORY + f64::from(u8::from(right));
            self.tried = self.tried * MEMORY + 1.0;
            if !right {
                break;
            }
        }
    }

    /// How many tokens of a draft are worth a row: the chance that a row is used falls with each token before it.
    fn worth(&self) -> usize {
        let rate = self.right / self.tried;
        let mut chance = rate;
        let mut length = 0;
        while length < LONGEST && chance >= WORTH {
            length += 1;
            chance *= rate;
        }
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(history: &[u32], most: usize, expected: &[u32]) {
        assert_eq!(continuation(history, most), expected, "{history:?}");
    }

    #[test]
    fn the_draft_is_what_followed_the_last_tokens_before() {
        check(&[1, 2, 3, 4, 5, 9, 1, 2, 3], 2, &[4, 5]);
        check(&[1, 2, 3, 4, 5, 9, 8, 2, 3], 2, &[4, 5]);
    }

    #[test]
    fn a_longer_match_wins_over_a_later_one() {
        check(&[1, 2, 3, 4, 0, 2, 3, 5, 0, 1, 2, 3], 1, &[4]);
    }

    #[test]
    fn of_equal_matches_the_latest_wins() {
        check(&[1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3], 1, &[5]);
    }

    #[test]
    fn a_draft_that_reaches_the_end_repeats_itself() {
        check(&[1, 2, 1, 2, 1], 5, &[2, 1, 2, 1, 2]);
        check(&[7, 7, 7], 4, &[7, 7, 7, 7]);
    }

    #[test]
    fn without_an_earlier_occurrence_there_is_no_draft() {
        check(&[], 4, &[]);
        check(&[1], 4, &[]);
        check(&[1, 2], 4, &[]);
        check(&[1, 2, 3, 4, 5], 4, &[]);
        check(&[5, 1, 2, 3, 4, 5], 4, &[]);
        check(&[1, 2, 3, 1, 2, 3], 0, &[]);
    }

    /// Length of the next draft after guesses that came true (`true`) or not.
    fn length_after(outcomes: impl IntoIterator<Item = bool>) -> usize {
        let repeating = [1, 2, 1, 2, 1, 2];
        let mut speculator = Speculator::default();
        for came_true in outcomes {
            speculator.draft(&repeating, LONGEST, <[u32]>::len);
            let guess = speculator.guess.clone();
            speculator.observe(if came_true { &guess } else { &[0] });
        }
        speculator.draft(&repeating, LONGEST, <[u32]>::len).len()
    }

    #[test]
    fn drafts_grow_while_they_are_right_and_end_when_they_are_wrong() {
        assert_eq!(length_after([]), 2);
        assert!(length_after([true; 3]) > 4);
        assert_eq!(length_after([true; 20]), LONGEST);
        assert_eq!(length_after([false; 8]), 0);
    }

    #[test]
    fn guesses_that_cost_nothing_bring_drafts_back() {
        assert!(length_after([false; 8].into_iter().chain([true; 8])) > 1);
    }

    #[test]
    fn a_draft_holds_only_what_may_follow() {
        let mut speculator = Speculator::default();
        let history = [1, 2, 3, 4, 5, 9, 1, 2, 3];
        assert_eq!(speculator.draft(&history, 8, |_| 1), [4]);
        assert_eq!(speculator.draft(&history, 1, <[u32]>::len), [4]);
        assert_eq!(speculator.draft(&history, 8, |_| 0), [0_u32; 0]);
    }
}
