//! Which run's block comes next, when several runs have some: weighted turns by the campaigns' priorities (standards.md §7.3).
//!
//! | priority | weight |
//! |---|---|
//! | 0 to 24 | 1 |
//! | 25 to 49 | 2 |
//! | 50 to 74 (the default is 50) | 4 |
//! | 75 to 100 | 8 |
//!
//! A run of twice the weight gets twice as many blocks, and may have twice as many under way at once: together the runs share out eight places, each has at
//! least one, so that no run starves however many more important ones there are. A run by itself has four. Who comes anew comes first, and then takes its
//! turns like everybody; nobody saves up turns while it has nothing to send. Each process shares out its own places. Pure.

use super::BLOCKS_OF_A_RUN;
use crate::types::RunId;
use std::collections::{BTreeSet, HashMap};

/// Places that competing runs share out.
const SHARED: u64 = 2 * BLOCKS_OF_A_RUN as u64;
/// What a block costs a run of weight 1.
const STEP: u64 = 8;

/// By a campaign's priority.
pub fn weight(priority: u8) -> u64 {
    1 << (priority / 25).min(3)
}

/// How far each run has come, of those that compete now.
#[derive(Debug, Default)]
pub struct Shares(HashMap<RunId, u64>);

impl Shares {
    /// The runs with a block to send that may take one more, who is next first. `weights`: of all that have blocks to send or under way; `waiting`: which
    /// of them have some to send, in the order in which they were due; `working`: how many blocks of each are under way.
    pub fn next(&mut self, weights: &HashMap<RunId, u64>, waiting: &[RunId], working: &HashMap<RunId, usize>) -> Vec<RunId> {
        let present: BTreeSet<RunId> = waiting.iter().chain(working.keys()).copied().collect();
        self.0.retain(|run, _| present.contains(run));
        let least = self.0.values().min().copied().unwrap_or(0);
        for run in &present {
            self.0.entry(*run).or_insert(least);
        }
        let of = |run: &RunId| weights.get(run).copied().unwrap_or(1).max(1);
        let all: u64 = present.iter().map(of).sum();
        let most = |run: &RunId| match present.len() {
            1 => BLOCKS_OF_A_RUN,
            _ => usize::try_from((SHARED * of(run) * 2 + all) / (2 * all)).unwrap_or(1).max(1),
        };
        let mut next: Vec<RunId> = waiting.iter().copied().filter(|run| working.get(run).copied().unwrap_or(0) < most(run)).collect();
        // Who has nothing under way goes before those who have.
        next.sort_by_key(|run| (working.contains_key(run), self.0.get(run).copied().unwrap_or(least)));
        next
    }

    /// A run has got a block.
    pub fn took(&mut self, run: RunId, weight: u64) {
        *self.0.entry(run).or_default() += STEP / weight.clamp(1, STEP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many blocks are handed out to runs of these priorities which always have more; each block takes one round, and the receiver takes so many at a time.
    fn handed_out(priorities: &[u8], places: usize, blocks: usize) -> Vec<usize> {
        let runs: Vec<RunId> = (1..=priorities.len() as i64).map(RunId).collect();
        let weights: HashMap<RunId, u64> = runs.iter().zip(priorities).map(|(run, priority)| (*run, weight(*priority))).collect();
        let mut shares = Shares::default();
        let mut under_way: std::collections::VecDeque<RunId> = Default::default();
        let mut got = vec![0; runs.len()];
        for _ in 0..blocks {
            loop {
                let mut working: HashMap<RunId, usize> = HashMap::new();
                under_way.iter().for_each(|run| *working.entry(*run).or_default() += 1);
                let next = shares.next(&weights, &runs, &working);
                let Some(run) = next.first().filter(|_| under_way.len() < places) else { break };
                shares.took(*run, weights[run]);
                got[run.0 as usize - 1] += 1;
                under_way.push_back(*run);
            }
            under_way.pop_front();
        }
        got
    }

    #[test]
    fn weights_go_by_priority() {
        for (priority, expected) in [(0, 1), (24, 1), (25, 2), (49, 2), (50, 4), (74, 4), (75, 8), (100, 8)] {
            assert_eq!(weight(priority), expected, "{priority}");
        }
    }

    #[test]
    fn blocks_are_shared_out_by_weight_and_nobody_starves() {
        // Priorities, and the share of each of 1,000 blocks in percent, within two.
        for (priorities, expected) in [
            (vec![50], vec![100]),
            (vec![50, 50], vec![50, 50]),
            (vec![50, 50, 50], vec![33, 33, 33]),
            (vec![90, 50], vec![63, 37]),
            (vec![50, 10], vec![75, 25]),
            (vec![90, 10], vec![88, 12]),
            (vec![90, 50, 10], vec![62, 25, 13]),
            (vec![100, 0, 0, 0], vec![67, 11, 11, 11]),
        ] {
            let got = handed_out(&priorities, 16, 1000);
            let all: usize = got.iter().sum();
            let percent: Vec<usize> = got.iter().map(|count| (count * 100 + all / 2) / all).collect();
            assert!(percent.iter().zip(&expected).all(|(one, other)| one.abs_diff(*other) <= 2), "{priorities:?}: {percent:?}");
        }
    }

    #[test]
    fn with_more_runs_than_places_everybody_has_a_turn() {
        let mut priorities = vec![90; 20];
        priorities.push(0);
        let got = handed_out(&priorities, 16, 2000);
        assert!(got.iter().all(|count| *count > 0), "{got:?}");
        assert!(got[20] * 4 < got[0], "{got:?}");
    }

    #[test]
    fn who_comes_anew_comes_first_and_saves_up_nothing() {
        let (old, new) = (RunId(1), RunId(2));
        let weights = HashMap::from([(old, 4), (new, 4)]);
        let mut shares = Shares::default();
        for _ in 0..100 {
            assert_eq!(shares.next(&weights, &[old], &HashMap::from([(old, 3)])), [old]);
            shares.took(old, 4);
        }
        assert_eq!(shares.next(&weights, &[old], &HashMap::from([(old, 4)])), [], "by itself a run has four");
        assert_eq!(shares.next(&weights, &[old, new], &HashMap::from([(old, 3)])), [new, old]);
        shares.took(new, 4);
        // From here on they take turns: the new one has no hundred blocks to catch up with.
        assert_eq!(shares.next(&weights, &[old, new], &HashMap::from([(old, 2), (new, 1)])), [old, new]);
    }
}
