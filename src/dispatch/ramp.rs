//! How a mailbox site that was spared comes back: little in the first minute, and twice as much in each minute after one in which it took some
//! and asked for nothing; half as much after one in which it asked again. A minute in which nothing went says nothing.
//!
//! Who does not go this minute is told the minute in which there will be room if all goes well, so that a large queue does not ask each minute.
//! Pure: the caller brings the time.

use crate::types::Time;
use chrono::TimeDelta;
use std::collections::VecDeque;

/// Messages of the first minute.
const FIRST: u32 = 10;
/// A site that takes so many in a minute has come back.
const BACK: u32 = 20_000;
const MINUTE: TimeDelta = TimeDelta::minutes(1);

/// One site's.
#[derive(Debug)]
pub struct Ramp {
    /// When the minute began.
    since: Time,
    /// How many may go in it, and have gone.
    room: u32,
    gone: u32,
    took: u32,
    told: u32,
    /// How many were told to come in the minutes after this one.
    promised: VecDeque<u32>,
}

/// Whether one more may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// `None`: now.
    pub until: Option<Time>,
    /// The site has come back: it need not be asked for any more.
    pub is_over: bool,
}

impl Ramp {
    /// After a time in which one message went each so often (`None`: none), no less goes.
    pub fn begin(probe_each: Option<TimeDelta>, now: Time) -> Ramp {
        let probes = probe_each.map_or(0, |each| MINUTE.num_milliseconds() / each.num_milliseconds().max(1));
        let room = u32::try_from(probes).unwrap_or(BACK).clamp(FIRST, BACK);
        Ramp { since: now, room, gone: 0, took: 0, told: 0, promised: VecDeque::new() }
    }

    /// `draw` spreads those who wait over their minute.
    pub fn ask(&mut self, draw: u64, now: Time) -> Answer {
        self.go_on(now);
        if self.room >= BACK {
            return Answer { until: None, is_over: true };
        }
        if self.gone < self.room {
            self.gone += 1;
            return Answer { until: None, is_over: false };
        }
        let (mut minute, mut room) = (0, self.room);
        loop {
            room = room.saturating_mul(2);
            if self.promised.len() == minute {
                self.promised.push_back(0);
            }
            if let Some(promised) = self.promised.get_mut(minute)
                && (*promised < room || room >= BACK)
            {
                *promised = promised.saturating_add(1);
                let later = i32::try_from(minute + 1).unwrap_or(i32::MAX);
                // In whole seconds, so that those of one are taken up together.
                let until = self.since + MINUTE * later + TimeDelta::seconds((60 * (draw >> 48) / 65_536) as i64);
                return Answer { until: Some(until), is_over: false };
            }
            minute += 1;
        }
    }

    /// The site took a message.
    pub fn took(&mut self, now: Time) {
        self.go_on(now);
        self.took += 1;
    }

    /// The site asked us to slow down.
    pub fn told(&mut self, now: Time) {
        self.go_on(now);
        self.told += 1;
    }

    /// Ends the minutes that are over.
    fn go_on(&mut self, now: Time) {
        while now >= self.since + MINUTE {
            self.room = match (self.told, self.took) {
                (0, 0) => self.room,
                (0, _) => self.room.saturating_mul(2),
                _ => (self.room / 2).max(FIRST),
            };
            (self.gone, self.took, self.told) = (0, 0, 0);
            self.since += MINUTE;
            if self.promised.pop_front().is_none() {
                // Nothing is known of the minutes up to now.
                let whole = i32::try_from((now - self.since).num_minutes()).unwrap_or(0);
                self.since += MINUTE * whole;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many messages wait from the start, and come again when they are told to; the site answers as `says`, by minute. Gives how many went in each
    /// minute, and how often they asked in vain.
    fn comes_back(waiting: usize, says: impl Fn(usize) -> bool) -> (Vec<usize>, usize) {
        let start: Time = "2027-03-01T10:00:00Z".parse().unwrap();
        let mut ramp = Ramp::begin(None, start);
        let mut queue: VecDeque<(Time, u64)> =
            (0..waiting).map(|number| (start, (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
        let (mut went, mut in_vain) = (Vec::new(), 0);
        while let Some((now, draw)) = queue.pop_front() {
            let minute = (now - start).num_minutes() as usize;
            let answer = ramp.ask(draw, now);
            match answer.until {
                None => {
                    went.resize(went.len().max(minute + 1), 0);
                    went[minute] += 1;
                    if says(minute) { ramp.took(now) } else { ramp.told(now) }
                }
                Some(until) => {
                    assert!(until > now);
                    in_vain += 1;
                    queue.push_back((until, draw));
                    queue.make_contiguous().sort_unstable();
                }
            }
        }
        (went, in_vain)
    }

    #[test]
    fn each_minute_in_which_a_site_takes_what_comes_doubles_the_next() {
        let (went, in_vain) = comes_back(1000, |_| true);
        assert_eq!(went, [10, 20, 40, 80, 160, 320, 370]);
        assert!(in_vain <= 1100, "nearly everyone comes once more: {in_vain}");
    }

    #[test]
    fn a_site_that_asks_again_gets_half() {
        let (went, _) = comes_back(400, |minute| minute != 3);
        // The fourth minute is told to slow down, and those who were told to come later have to wait once more.
        assert_eq!(went[..6], [10, 20, 40, 80, 40, 80], "{went:?}");
        assert_eq!(went.iter().sum::<usize>(), 400);
    }

    #[test]
    fn a_site_that_asks_each_time_never_gets_more_than_at_first() {
        let (went, _) = comes_back(100, |_| false);
        assert!(went.iter().all(|count| *count <= 10), "{went:?}");
    }

    #[test]
    fn a_minute_in_which_nothing_went_says_nothing_and_a_site_that_takes_everything_has_come_back() {
        let start: Time = "2027-03-01T10:00:00Z".parse().unwrap();
        let mut ramp = Ramp::begin(None, start);
        assert_eq!(ramp.ask(0, start + TimeDelta::hours(3)), Answer { until: None, is_over: false });
        let room = |ramp: &mut Ramp, now| (0..100_000).take_while(|_| ramp.ask(0, now).until.is_none()).count();
        assert_eq!(room(&mut ramp, start + TimeDelta::hours(3)), 9, "as at the beginning");
        for minute in 0..11 {
            ramp.took(start + TimeDelta::hours(3) + MINUTE * minute);
        }
        assert!(ramp.ask(0, start + TimeDelta::hours(3) + MINUTE * 11).is_over);
    }

    #[test]
    fn no_less_goes_than_while_the_site_was_spared() {
        let start: Time = "2027-03-01T10:00:00Z".parse().unwrap();
        for (each, expected) in [(None, 10), (Some(60_000), 10), (Some(6_000), 10), (Some(1_000), 60), (Some(360), 166)] {
            assert_eq!(Ramp::begin(each.map(TimeDelta::milliseconds), start).room, expected, "{each:?}");
        }
    }
}
