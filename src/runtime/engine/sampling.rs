//! Drawing the next token from a row of logits.
//!
//! The order is that of Hugging Face transformers: repetition penalty, temperature, top-k, top-p (Holtzman et al. 2020,
//! arXiv:1904.09751), min-p (Nguyen et al. 2024, arXiv:2407.01082), draw. Each sequence has its own generator, so what is
//! drawn does not depend on which other sequences are in the batch.

use std::cmp::Ordering;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::runtime::{GenerationError, Sampling};

/// Number of last tokens that the repetition penalty looks at.
const PENALTY_WINDOW: usize = 256;

/// Refuses settings that no distribution follows from.
pub fn validate(sampling: &Sampling) -> Result<(), GenerationError> {
    let refuse = |field, reason: &str| Err(GenerationError::InvalidRequest { field, reason: reason.to_owned() });
    if !(sampling.temperature.is_finite() && sampling.temperature >= 0.0) {
        return refuse("temperature", "must be a number not below 0");
    }
    if !(sampling.top_p > 0.0 && sampling.top_p <= 1.0) {
        return refuse("top_p", "must be above 0 and not above 1");
    }
    if sampling.top_k == Some(0) {
        return refuse("top_k", "must be at least 1");
    }
    if !(sampling.min_p >= 0.0 && sampling.min_p < 1.0) {
        return refuse("min_p", "must be from 0 to below 1");
    }
    if !(sampling.repetition_penalty.is_finite() && sampling.repetition_penalty > 0.0) {
        return refuse("repetition_penalty", "must be a number above 0");
    }
    Ok(())
}

/// Draws the tokens of one sequence.
#[derive(Debug)]
pub struct Sampler {
    settings: Sampling,
    random: Xoshiro256PlusPlus,
}

/// A token that may be drawn; `weight` is its probability times a factor common to all.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    id: u32,
    weight: f32,
}

impl Candidate {
    /// Heavier first; of equals, the lower id, so that no order depends on a sort's whim.
    fn order(left: &Self, right: &Self) -> Ordering {
        right.weight.total_cmp(&left.weight).then(left.id.cmp(&right.id))
    }
}

impl Sampler {
    /// `settings` must have passed [`validate`].
    pub fn new(settings: Sampling) -> Self {
        let seed = settings.seed.unwrap_or_else(rand::random);
        Self { settings, random: Xoshiro256PlusPlus::seed_from_u64(seed) }
    }

    /// The next token after `history`, or `None` when no logit is a number. A logit of minus infinity or NaN is never
    /// drawn. Changes the logits.
    pub fn sample(&mut self, logits: &mut [f32], history: &[u32]) -> Option<u32> {
        if self.settings.repetition_penalty != 1.0 {
            penalise(logits, history, self.settings.repetition_penalty);
        }
        for logit in logits.iter_mut() {
            *logit = if logit.is_nan() { f32::NEG_INFINITY } else { logit.min(f32::MAX) };
        }
        if self.settings.temperature == 0.0 { most_probable(logits) } else { self.draw(logits) }
    }

    fn draw(&mut self, logits: &[f32]) -> Option<u32> {
        let best = logits[most_probable(logits)? as usize];
        let scale = f64::from(self.settings.temperature).recip();
        let weigh = |(id, &logit): (u32, &f32)| {
            let weight = (f64::from(logit - best) * scale).exp() as f32;
            (weight > 0.0).then_some(Candidate { id, weight })
        };
        let mut candidates: Vec<Candidate> = (0..).zip(logits).filter_map(weigh).collect();
        if let Some(top_k) = self.settings.top_k.filter(|&top_k| top_k < candidates.len()) {
            candidates.select_nth_unstable_by(top_k - 1, Candidate::order);
            candidates.truncate(top_k);
        }
        if self.settings.top_p < 1.0 {
            keep_nucleus(&mut candidates, self.settings.top_p);
        }
        // The heaviest weight is 1, so that a weight is already the fraction that min-p speaks of.
        candidates.retain(|candidate| candidate.weight >= self.settings.min_p);
        candidates.sort_unstable_by_key(|candidate| candidate.id);

        let mut remaining = self.random.random::<f64>() * mass(&candidates);
        let drawn = candidates.iter().find(|candidate| {
            remaining -= f64::from(candidate.weight);
            remaining < 0.0
        });
        drawn.or(candidates.last()).map(|candidate| candidate.id)
    }
}

/// The token with the highest logit; of equals, the lowest id.
fn most_probable(logits: &[f32]) -> Option<u32> {
    let mut best = None;
    let mut highest = f32::NEG_INFINITY;
    for (id, &logit) in (0..).zip(logits) {
        if logit > highest {
            (best, highest) = (Some(id), logit);
        }
    }
    best
}

/// Makes the tokens of the recent past less probable (Keskar et al. 2019, arXiv:1909.05858), each once.
fn penalise(logits: &mut [f32], history: &[u32], penalty: f32) {
    let mut recent = history[history.len().saturating_sub(PENALTY_WINDOW)..].to_vec();
    recent.sort_unstable();
    recent.dedup();
    for id in recent {
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
}

fn mass(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| f64::from(candidate.weight)).sum()
}

/// Keeps the smallest set of heaviest candidates that together have the fraction `top_p` of the mass.
fn keep_nucleus(candidates: &mut Vec<Candidate>, top_p: f32) {
    let wanted = mass(candidates) * f64::from(top_p);
    // Sorting a whole vocabulary takes longer than all the rest: the nucleus lies within the candidates above a threshold
    // as soon as those have the wanted mass.
    let mut threshold = 1e-2_f32;
    let heavy_mass = |threshold: f32| -> f64 {
        candidates.iter().map(|candidate| candidate.weight).filter(|&weight| weight >= threshold).map(f64::from).sum()
    };
    while threshold > 0.0 && heavy_mass(threshold) < wanted {
        threshold *= 1e-2;
    }
    candidates.retain(|candidate| candidate.weight >= threshold);
    candidates.sort_unstable_by(Candidate::order);
    let mut reached = 0.0;
    let inside = candidates.iter().take_while(|candidate| {
        let still_wanted = reached < wanted;
        reached += f64::from(candidate.weight);
        still_wanted
    });
    let kept = inside.count();
    candidates.truncate(kept.max(1));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn draws(settings: &Sampling, logits: &[f32], count: usize) -> Vec<Option<u32>> {
        let mut sampler = Sampler::new(settings.clone());
        (0..count).map(|_| sampler.sample(&mut logits.to_vec(), &[])).collect()
    }

    /// The set of tokens that 2,000 seeded draws reach.
    fn check_reachable(change: impl Fn(&mut Sampling), logits: &[f32], expected: &[u32]) {
        let mut settings = Sampling { temperature: 1.0, top_p: 1.0, seed: Some(7), ..Sampling::default() };
        change(&mut settings);
        let reached: BTreeSet<u32> = draws(&settings, logits, 2_000).into_iter().flatten().collect();
        assert_eq!(reached, expected.iter().copied().collect(), "{settings:?}");
    }

    /// Logits with the probabilities 0.5, 0.3, 0.15, 0.05.
    fn four() -> Vec<f32> {
        [0.5_f32, 0.3, 0.15, 0.05].iter().map(|probability| probability.ln()).collect()
    }

    #[test]
    fn greedy_takes_the_highest_and_of_equals_the_lowest_id() {
        assert_eq!(draws(&Sampling::greedy(), &[1.0, 3.0, 3.0, 2.0], 1), [Some(1)]);
    }

    #[test]
    fn a_logit_that_is_no_number_is_never_drawn() {
        let nan = f32::NAN;
        assert_eq!(draws(&Sampling::greedy(), &[nan, 1.0, f32::NEG_INFINITY], 1), [Some(1)]);
        assert_eq!(draws(&Sampling::greedy(), &[nan, nan], 1), [None]);
        assert_eq!(draws(&Sampling::default(), &[nan, f32::NEG_INFINITY], 1), [None]);
        assert_eq!(draws(&Sampling::greedy(), &[0.0, f32::INFINITY], 1), [Some(1)]);
        check_reachable(|_| {}, &[nan, 1.0, f32::INFINITY], &[2]);
    }

    #[test]
    fn each_filter_keeps_what_it_says() {
        check_reachable(|_| {}, &four(), &[0, 1, 2, 3]);
        check_reachable(|settings| settings.top_k = Some(2), &four(), &[0, 1]);
        check_reachable(|settings| settings.top_p = 0.79, &four(), &[0, 1]);
        check_reachable(|settings| settings.top_p = 0.81, &four(), &[0, 1, 2]);
        check_reachable(|settings| settings.top_p = 1e-6, &four(), &[0]);
        check_reachable(|settings| settings.min_p = 0.25, &four(), &[0, 1, 2]);
        check_reachable(|settings| settings.temperature = 0.01, &four(), &[0]);
    }

    #[test]
    fn top_p_of_a_flat_distribution_keeps_its_share() {
        let settings = Sampling { temperature: 1.0, top_p: 0.5, seed: Some(1), ..Sampling::default() };
        let reached: BTreeSet<u32> = draws(&settings, &[0.0; 100], 5_000).into_iter().flatten().collect();
        assert_eq!(reached, (0..50).collect());
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let settings = Sampling { temperature: 1.0, top_p: 1.0, seed: Some(3), ..Sampling::default() };
        let count = 20_000;
        let hits = draws(&settings, &four(), count).into_iter().filter(|&id| id == Some(1)).count();
        let share = hits as f64 / count as f64;
        // Three standard deviations of a share of 0.3 over 20,000 draws are 0.0097.
        assert!((share - 0.3).abs() < 0.01, "{share}");
    }

    #[test]
    fn the_same_seed_draws_the_same_tokens() {
        let settings = |seed| Sampling { temperature: 1.0, seed: Some(seed), ..Sampling::default() };
        assert_eq!(draws(&settings(5), &four(), 50), draws(&settings(5), &four(), 50));
        assert_ne!(draws(&settings(5), &four(), 50), draws(&settings(6), &four(), 50));
    }

    #[test]
    fn a_repeated_token_becomes_less_probable_but_once_only() {
        let mut sampler = Sampler::new(Sampling { repetition_penalty: 2.0, ..Sampling::greedy() });
        assert_eq!(sampler.sample(&mut [3.0, 2.0, -1.0], &[0, 0, 0]), Some(1));
        assert_eq!(sampler.sample(&mut [3.0, 1.4, -1.0], &[0, 0, 0]), Some(0));
        assert_eq!(sampler.sample(&mut [-3.0, -2.0, -1.1], &[2, 1]), Some(2));
        let long_ago: Vec<u32> = std::iter::once(0).chain([2; PENALTY_WINDOW]).collect();
        assert_eq!(sampler.sample(&mut [3.0, 2.0, -1.0], &long_ago), Some(0));
    }

    #[test]
    fn settings_without_a_meaning_are_refused() {
        let check = |change: fn(&mut Sampling), expected: Option<&'static str>| {
            let mut settings = Sampling::default();
            change(&mut settings);
            let field = validate(&settings).err().map(|error| match error {
                GenerationError::InvalidRequest { field, .. } => field,
                other => panic!("{other:?}"),
            });
            assert_eq!(field, expected, "{settings:?}");
        };
        check(|_| {}, None);
        check(|settings| settings.temperature = f32::NAN, Some("temperature"));
        check(|settings| settings.temperature = -0.1, Some("temperature"));
        check(|settings| settings.top_p = 0.0, Some("top_p"));
        check(|settings| settings.top_p = f32::NAN, Some("top_p"));
        check(|settings| settings.top_k = Some(0), Some("top_k"));
        check(|settings| settings.min_p = 1.0, Some("min_p"));
        check(|settings| settings.repetition_penalty = 0.0, Some("repetition_penalty"));
    }
}
