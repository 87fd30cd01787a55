//! Texts that end a generation, found wherever the token boundaries fall.

/// What may be shown after a piece of text.
#[derive(Debug, PartialEq, Eq)]
pub struct StopOutcome {
    pub text: String,
    /// A stop text was found; `text` ends before it and nothing may follow.
    pub stopped: bool,
}

/// Looks for stop texts in a stream of text.
///
/// Held back is only what may be the beginning of a stop text. The stop text that is complete first wins; of those
/// complete at the same character, the longest. That makes the outcome independent of how the text is cut into pieces.
#[derive(Debug, Default)]
pub struct StopMatcher {
    stops: Vec<String>,
    held: String,
}

impl StopMatcher {
    /// `stops` must not contain an empty text: it would stop everything.
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    /// Adds a piece; returns what has become certain.
    pub fn push(&mut self, piece: &str) -> StopOutcome {
        if self.stops.is_empty() {
            return StopOutcome { text: piece.to_owned(), stopped: false };
        }
        self.held.push_str(piece);
        if let Some(start) = self.first_stop() {
            let mut text = std::mem::take(&mut self.held);
            text.truncate(start);
            return StopOutcome { text, stopped: true };
        }
        let certain = self.held.len() - self.longest_beginning();
        StopOutcome { text: self.held.drain(..certain).collect(), stopped: false }
    }

    /// What was held back, once no more text comes.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Where the first complete stop text begins.
    fn first_stop(&self) -> Option<usize> {
        let occurrences =
            self.stops.iter().filter_map(|stop| self.held.find(stop).map(|start| (start + stop.len(), start)));
        occurrences.min().map(|(_, start)| start)
    }

    /// Length of the longest end of the held text with which a stop text begins.
    fn longest_beginning(&self) -> usize {
        let longest = |stop: &String| {
            let mut ends = stop.char_indices().map(|(end, _)| end).rev();
            ends.find(|&end| self.held.ends_with(&stop[..end])).unwrap_or(0)
        };
        self.stops.iter().map(longest).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pieces shown for pieces pushed, up to the stop; then what `finish` adds.
    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let mut matcher = StopMatcher::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        let mut shown = Vec::new();
        for piece in pieces {
            let outcome = matcher.push(piece);
            shown.push(outcome.text);
            if outcome.stopped {
                return (shown, true);
            }
        }
        shown.push(matcher.finish());
        (shown, false)
    }

    fn check(stops: &[&str], pieces: &[&str], expected: &[&str], stopped: bool) {
        let expected = expected.iter().map(|piece| (*piece).to_owned()).collect();
        assert_eq!(run(stops, pieces), (expected, stopped), "{stops:?} in {pieces:?}");
    }

    #[test]
    fn text_without_a_stop_text_passes_at_once() {
        check(&[], &["你好", "。"], &["你好", "。", ""], false);
        check(&["END"], &["你好", "。"], &["你好", "。", ""], false);
    }

    #[test]
    fn a_stop_text_ends_the_text_before_itself() {
        check(&["END"], &["abENDcd"], &["ab"], true);
        check(&["。"], &["好。", "坏"], &["好"], true);
    }

    #[test]
    fn a_stop_text_is_found_across_pieces() {
        check(&["END"], &["abE", "N", "Dcd"], &["ab", "", ""], true);
        check(&["第二题"], &["答。第", "二", "题"], &["答。", "", ""], true);
    }

    #[test]
    fn only_a_possible_beginning_is_held_back() {
        check(&["END"], &["abEN", "x"], &["ab", "ENx", ""], false);
        check(&["aab"], &["aaa", "c"], &["a", "aac", ""], false);
    }

    #[test]
    fn what_was_held_back_comes_at_the_end() {
        check(&["END"], &["abEN"], &["ab", "EN"], false);
    }

    #[test]
    fn the_first_complete_stop_text_wins() {
        check(&["abcd", "bc"], &["xabcd"], &["xa"], true);
        check(&["bc", "abc"], &["xabcd"], &["x"], true);
    }

    proptest! {
        #[test]
        fn the_cut_into_pieces_does_not_matter(
            text in "[abc。]{0,24}",
            stops in prop::collection::vec("[abc。]{1,4}", 1..4),
            cuts in prop::collection::vec(0usize..24, 0..10),
        ) {
            let characters: Vec<char> = text.chars().collect();
            let mut cuts: Vec<usize> =
                cuts.into_iter().map(|cut| cut.min(characters.len())).chain([0, characters.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<String> = cuts.windows(2).map(|pair| characters[pair[0]..pair[1]].iter().collect()).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let (whole, whole_stopped) = run(&stops, &[&text]);
            let (parts, parts_stopped) = run(&stops, &pieces);
            prop_assert_eq!((parts.concat(), parts_stopped), (whole.concat(), whole_stopped));
        }
    }
}
