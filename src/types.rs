//! Words that three or more modules share: identifiers, channels, classes, states and reasons.
//!
//! Every number that is stored (a state, a channel, a reason) is given here and is never reused for another meaning,
//! since databases keep it for years. This module knows no database and no clock.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An instant, always in UTC. Stored as microseconds since 1970 ([`micros`]).
pub type Time = chrono::DateTime<chrono::Utc>;

/// Microseconds since 1970, as times are stored.
pub fn micros(time: Time) -> i64 {
    time.timestamp_micros()
}

/// The instant of stored microseconds; out-of-range values become the nearest instant.
pub fn from_micros(micros: i64) -> Time {
    Time::from_timestamp_micros(micros).unwrap_or(if micros < 0 { Time::MIN_UTC } else { Time::MAX_UTC })
}

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(formatter) }
        }
    )*};
}

id! {
    /// A customer's number in the base.
    CustomerId,
    /// A campaign's number; its key is the file's name.
    CampaignId,
    /// An applied version of a definition (a row of `definitions`).
    VersionId,
    /// One occurrence of a campaign.
    RunId,
    /// A row of the ledger: one message, or one refusal, for one customer in a run.
    MessageId,
    /// At most 256 messages of a run that are claimed together.
    BlockId,
    /// A machine's process, alive while it renews its lease.
    NodeId,
}

/// Declares an enum whose variants have a word (in files, commands and JSON) and a number (in the database).
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_doc])* $variant),* }
        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];
            /// The word that people write and read.
            pub const fn word(self) -> &'static str { match self { $($name::$variant => $word),* } }
            /// The number that the database keeps.
            pub const fn code(self) -> i16 { match self { $($name::$variant => $code),* } }
            /// The value with this number, if there is one.
            pub const fn from_code(code: i16) -> Option<$name> { match code { $($code => Some($name::$variant),)* _ => None } }
            /// The value with this word, if there is one.
            pub fn from_word(word: &str) -> Option<$name> { match word { $($word => Some($name::$variant),)* _ => None } }
        }
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result { formatter.pad(self.word()) }
        }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> { serializer.serialize_str(self.word()) }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = String::deserialize(deserializer)?;
                $name::from_word(&word).ok_or_else(|| serde::de::Error::custom(format!("`{word}` is none of the known words")))
            }
        }
    };
}

words! {
    /// A medium that reaches a customer.
    Channel { Email = 1 "email", Sms = 2 "sms", Letter = 3 "letter", Call = 4 "call", Webhook = 5 "webhook" }
}

words! {
    /// Which rules apply to a campaign (design.md §7).
    Class {
        /// Needs granted consent, obeys caps and quiet hours, carries one-click unsubscription.
        Advertising = 1 "advertising",
        /// Must not be withdrawn; obeys caps and quiet hours.
        Informational = 2 "informational",
        /// Stopped only by a dead address, a complaint or erasure.
        Transactional = 3 "transactional",
    }
}

words! {
    /// Where a message stands. The sums of design.md §6 are over these.
    MessageState {
        /// A refusal: the customer was selected and gets no message; `reason` says why.
        Refused = 0 "refused",
        /// Waits for its due time and for a block to be claimed.
        Planned = 1 "planned",
        /// Its hand-over mark is durable: from here on a crash makes it uncertain.
        HandingOver = 2 "handing_over",
        /// Waits to be tried again.
        Retry = 3 "retry",
        /// Waits by rule: quiet hours, a cap, a window, warm-up.
        Deferred = 4 "deferred",
        /// Waits for a person: approval, an automatic stop, a brake.
        Held = 5 "held",
        /// The provider may have taken it and may not; never guessed.
        Uncertain = 6 "uncertain",
        /// The provider took it. Final; what bounces later is counted beside it.
        Accepted = 7 "accepted",
        /// Will not be sent; `reason` and `detail` say why.
        Failed = 8 "failed",
        /// Was not handed over before its expiry.
        Expired = 9 "expired",
        /// Its run, campaign or customer was cancelled before hand-over.
        Cancelled = 10 "cancelled",
    }
}

impl MessageState {
    /// Waiting states of the sums: planned, handing_over, retry, deferred.
    pub const WAITING: &'static [MessageState] =
        &[MessageState::Planned, MessageState::HandingOver, MessageState::Retry, MessageState::Deferred];
    /// No later write changes a message in this state (an uncertain one may still be settled).
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Refused | Self::Accepted | Self::Failed | Self::Expired | Self::Cancelled)
    }
}

words! {
    /// Why a selected customer gets no message (design.md §7), in the order in which the rules are asked.
    Refusal {
        NoAddress = 1 "no_address",
        UnsupportedAddress = 2 "unsupported_address",
        DuplicateAddress = 3 "duplicate_address",
        Suppressed = 4 "suppressed",
        NoConsent = 5 "no_consent",
        HeldOut = 6 "held_out",
        PastLocalTime = 7 "past_local_time",
        Capped = 8 "capped",
        OverAudience = 9 "over_audience",
        OverCost = 10 "over_cost",
        Excluded = 11 "excluded",
        LeftAudience = 12 "left_audience",
        NoCoupon = 13 "no_coupon",
        MissingData = 14 "missing_data",
        ByTemplate = 15 "by_template",
        Erased = 16 "erased",
    }
}

words! {
    /// Why a message failed. Numbers share the `reason` column with `Refusal`, so they begin at 101.
    Failure {
        /// No such mailbox or number; the address is suppressed.
        InvalidAddress = 101 "invalid_address",
        /// The domain takes no mail.
        InvalidDomain = 102 "invalid_domain",
        /// The mailbox is disabled.
        Inactive = 103 "inactive_address",
        MailboxFull = 104 "mailbox_full",
        /// The content was refused: size, form.
        Content = 105 "content",
        /// A block or policy reply about us; never suppresses a person.
        Blocked = 106 "blocked",
        /// Our authentication or set-up was refused.
        Policy = 107 "policy",
        Protocol = 108 "protocol",
        /// The provider refused it for another reason.
        Rejected = 109 "rejected",
        /// A value with control characters would have reached a header, an address or an SMS.
        UnsafeValue = 110 "unsafe_value",
        /// The template failed for this customer.
        Render = 111 "render_error",
        /// Tried until the retry schedule was used up.
        TriedTooOften = 112 "tried_too_often",
        /// Too large for the channel.
        TooLarge = 113 "too_large",
        /// Nobody knows whether it arrived, and a person took it for lost.
        Unanswered = 114 "unanswered",
        /// The mailbox belongs to somebody else now; the address is suppressed, and nobody agreed to anything there.
        OwnerChanged = 115 "owner_changed",
        /// The person has told the provider to stop; it sends them nothing.
        OptedOut = 116 "opted_out",
    }
}

impl Failure {
    /// It speaks of the person's address, and will be the same the next time.
    pub const fn is_of_address(self) -> bool {
        matches!(self, Self::InvalidAddress | Self::InvalidDomain | Self::Inactive | Self::OwnerChanged | Self::OptedOut)
    }
}

words! {
    /// What a customer agreed to, for a topic on a channel.
    ConsentState {
        Granted = 1 "granted", Confirmed = 2 "confirmed", Pending = 3 "pending", Withdrawn = 4 "withdrawn",
        /// Objected to advertising and profiling (GDPR 21): always for all topics (`*`) and all channels, and no later consent outweighs it
        /// until the person takes it back.
        Objected = 5 "objected",
    }
}

words! {
    /// Why an address must not be sent to.
    SuppressionReason {
        HardBounce = 1 "hard_bounce", Complaint = 2 "complaint", Unsubscribe = 3 "unsubscribe", Erased = 4 "erased",
        SoftBounces = 5 "soft_bounces", Manual = 6 "manual", Import = 7 "import", Provider = 8 "provider",
        /// The person asked for a pause of advertising.
        Paused = 9 "paused",
    }
}

words! {
    /// The state of a run.
    RunState {
        Planning = 1 "planning", Ready = 2 "ready", Running = 3 "running", Done = 4 "done", Paused = 5 "paused", Cancelled = 6 "cancelled",
    }
}

words! {
    /// What happened to a message afterwards; its event is named `message.WORD` in `events`, and counted in `tallies`.
    Response {
        Opened = 1 "opened", Clicked = 2 "clicked", Replied = 3 "replied", Unsubscribed = 4 "unsubscribed", Complained = 5 "complained",
        Bounced = 6 "bounced", Delivered = 7 "delivered", Viewed = 8 "viewed",
        /// An answer that nobody wrote by hand; counts for nothing.
        AutoReplied = 9 "auto_replied",
    }
}

words! {
    /// Whether a person or a machine made an open or a click (standards.md §2.3–2.4). Machines are flagged, never dropped.
    Verdict { Human = 0 "human", Machine = 1 "machine", Suspect = 2 "suspect" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_and_word_leads_back_to_its_value() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_code(refusal.code()), Some(*refusal));
            assert_eq!(Refusal::from_word(refusal.word()), Some(*refusal));
            assert_eq!(Failure::from_code(refusal.code()), None, "refusals and failures share a column");
        }
        for state in MessageState::ALL {
            assert_eq!(MessageState::from_code(state.code()), Some(*state));
        }
    }
}
