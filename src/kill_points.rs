//! Where tests kill a process, to show that nothing is lost or doubled wherever it dies.
//!
//! In a release build without the feature `kill-points` there is nothing here: [`reached`] is an empty function, and the environment is not read. In a
//! debug build, or with that feature, the command reads POSTHASTE_KILL_AT (`POINT:N`) once when it starts, and the Nth time that the point is reached the process
//! aborts on the spot: no destructor runs and nothing is written any more, as after kill -9. Points in the dialogue with a receiver need nothing here: there the
//! test's own receiver kills.

/// A place where a crash is interesting (standards.md §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    AfterClaim,
    AfterRender,
    BeforeMark,
    AfterMark,
    AfterReply,
    AfterCommit,
    MidPlan,
    BeforeIntake,
    AfterIntake,
}

impl Point {
    pub const ALL: [(Point, &'static str); 9] = [
        (Point::AfterClaim, "after-claim"),
        (Point::AfterRender, "after-render"),
        (Point::BeforeMark, "before-mark"),
        (Point::AfterMark, "after-mark"),
        (Point::AfterReply, "after-reply"),
        (Point::AfterCommit, "after-commit"),
        (Point::MidPlan, "mid-plan"),
        (Point::BeforeIntake, "before-intake"),
        (Point::AfterIntake, "after-intake"),
    ];
}

#[cfg(any(debug_assertions, feature = "kill-points"))]
mod armed {
    use super::Point;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    static ARMED: OnceLock<(Point, AtomicI64)> = OnceLock::new();

    /// Reads POSTHASTE_KILL_AT; to be called once, by the command's `main`.
    pub fn arm() {
        let Ok(written) = std::env::var("POSTHASTE_KILL_AT") else { return };
        let Some((word, count)) = written.split_once(':') else { return };
        let point = Point::ALL.into_iter().find(|(_, known)| *known == word);
        if let (Some((point, _)), Ok(count)) = (point, count.parse()) {
            let _ = ARMED.set((point, AtomicI64::new(count)));
        }
    }

    pub fn reached(point: Point) {
        if let Some((armed, left)) = ARMED.get()
            && *armed == point
            && left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            std::process::abort();
        }
    }
}

#[cfg(any(debug_assertions, feature = "kill-points"))]
pub use armed::{arm, reached};

/// Nothing, in a release build.
#[cfg(not(any(debug_assertions, feature = "kill-points")))]
#[inline(always)]
pub fn arm() {}

/// Nothing, in a release build.
#[cfg(not(any(debug_assertions, feature = "kill-points")))]
#[inline(always)]
pub fn reached(_: Point) {}
