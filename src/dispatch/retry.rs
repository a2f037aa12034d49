//! When a message is tried again (standards.md §1.9 and §7.3).

use crate::types::{Channel, Time};
use chrono::TimeDelta;

/// A message is tried at most so often; when a person sends it again, so often once more.
const MOST_ATTEMPTS: i16 = 30;

/// A message whose tries get no answer is sent again at most until this try, where its campaign wants that: each may have arrived.
const MOST_UNANSWERED: i16 = 5;

/// Whether a message that got no answer at this attempt may be sent once more.
pub fn may_repeat(attempt: i16) -> bool {
    attempt < MOST_UNANSWERED
}

/// Whether nothing is tried after this attempt any more.
pub fn is_last(attempt: i16) -> bool {
    attempt % MOST_ATTEMPTS == 0
}

/// The wait before the next try after `attempt` tries. Email: 20 minutes, doubled each time, at most four hours, with equal jitter (half to all of the
/// step). Others: full jitter over one second, doubled, at most 15 minutes. `draw` is drawn from the message's key, so that the same message
/// always waits the same time. What the provider asks for is a floor.
pub fn next(channel: Channel, attempt: i16, draw: u64, now: Time, asked: Option<std::time::Duration>) -> Time {
    let doubled = |base: TimeDelta, most: TimeDelta| (base * (1_i32 << (attempt - 1).clamp(0, 16))).min(most);
    // A part of 65,536, from the draw's first bits.
    let part = |whole: TimeDelta| whole / 65_536 * (draw >> 48) as i32;
    let wait = match channel {
        Channel::Email => {
            let step = doubled(TimeDelta::minutes(20), TimeDelta::hours(4));
            (step / 2 + part(step / 2)).max(TimeDelta::minutes(5))
        }
        _ => part(doubled(TimeDelta::seconds(1), TimeDelta::minutes(15))).max(TimeDelta::milliseconds(200)),
    };
    let floor = asked.and_then(|asked| TimeDelta::from_std(asked).ok()).unwrap_or_default().min(TimeDelta::hours(24));
    now + wait.max(floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn email_waits_20_minutes_then_twice_as_long_up_to_four_hours() {
        let now: Time = "2027-03-01T10:00:00Z".parse().unwrap();
        for (attempt, shortest, longest) in [(1, 10, 20), (2, 20, 40), (3, 40, 80), (4, 80, 160), (5, 120, 240), (30, 120, 240)] {
            let least = next(Channel::Email, attempt, 0, now, None) - now;
            let most = next(Channel::Email, attempt, u64::MAX, now, None) - now;
            assert_eq!(least, TimeDelta::minutes(shortest), "{attempt}");
            assert!(most <= TimeDelta::minutes(longest) && most > TimeDelta::minutes(longest) - TimeDelta::seconds(2), "{attempt}: {most}");
        }
    }

    #[test]
    fn what_the_provider_asks_for_is_a_floor() {
        let now: Time = "2027-03-01T10:00:00Z".parse().unwrap();
        let asked = Some(std::time::Duration::from_secs(3600));
        assert_eq!(next(Channel::Sms, 1, 0, now, asked) - now, TimeDelta::hours(1));
        assert!(next(Channel::Sms, 20, u64::MAX, now, None) - now <= TimeDelta::minutes(15));
    }
}
