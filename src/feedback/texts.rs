//! Texts from outside: kept in the history of who wrote them, and taken for what they ask (standards.md §4.4).
//!
//! `stop` withdraws the consent to all that comes from the same sender, `stopall` to everything on the channel, both with the text as proof. `start` gives
//! back only what a keyword had ended, and only to who had agreed before. A doubtful text suppresses the number until a person has decided
//! (`posthaste replies`). What a provider has stopped itself stays stopped there.

use super::{Applied, Case, Feedback};
use crate::customers::phone::PhoneNumber;
use crate::policy::keywords::{Meaning, meaning};
use crate::store::answers::{Answered, NewAnswer};
use crate::store::consents::ConsentRow;
use crate::store::events::NewEvent;
use crate::store::people::ConsentLine;
use crate::store::replies::{IN_REVIEW, LastMessage, Owner};
use crate::store::responses::{Detail, ResponseRow, Scope, digest};
use crate::store::suppressions::SuppressionRow;
use crate::store::{Error, from_micros, micros};
use crate::types::{Channel, ConsentState, Response, SuppressionReason, Time, Verdict};
use crate::webhooks::{Keyword, What};
use chrono::TimeDelta;
use serde_json::json;
use std::collections::BTreeMap;

/// The event of a text in a customer's history.
pub const EVENT: &str = "sms_received";
/// Where a consent comes from that a keyword has changed.
pub const BY_KEYWORD: &str = "keyword";
/// A confirmation may come so long after the word (standards.md §4.4).
const ANSWERED_WITHIN: TimeDelta = TimeDelta::minutes(5);
/// Characters of a text that are kept: ten parts.
const LONGEST: usize = 1600;

impl Feedback {
    /// Takes one text; says what is to be recorded of messages.
    pub(super) async fn hear(&self, case: &Case, applied: &Applied) -> Result<Vec<(ResponseRow, Detail)>, Error> {
        let What::Text { to, text, keyword } = &case.told.what else { return Ok(Vec::new()) };
        let Some(number) = case.told.person.as_deref().and_then(international) else {
            tracing::info!(provider = case.provider, "a text came from something that is no phone number");
            return Ok(Vec::new());
        };
        let key = self.keys.address(Channel::Sms, &number);
        let meaning = asked(text, *keyword);
        let owners = self.store.owners(key, Channel::Sms).await?;
        let mut rows = Vec::new();
        for owner in &owners {
            let last = self.store.last_message_to(owner, Channel::Sms).await?;
            self.remember(case, owner, &number, to, text, meaning, applied).await?;
            self.change_consent(case, owner, last.as_ref(), text, meaning, applied).await?;
            let detail = Detail { text: Some(kept(text)), ..Detail::default() };
            rows.extend(last.and_then(|last| answered(case, &last, meaning)).map(|row| (row, detail)));
        }
        self.change_suppression(case, key, meaning, owners.is_empty()).await?;
        if keyword.is_none() {
            let language = owners.first().and_then(|owner| owner.language.as_deref());
            self.answer(case, (key, &number, to), meaning, language, applied).await?;
        }
        Ok(rows)
    }

    /// What is sent back, where the provider is set up to and does not do it itself.
    async fn answer(
        &self,
        case: &Case,
        (key, number, to): ([u8; 16], &str, &str),
        meaning: Meaning,
        language: Option<&str>,
        applied: &Applied,
    ) -> Result<(), Error> {
        let Some(replies) = applied.workspace.keyword_replies.get(&case.provider) else { return Ok(()) };
        let (kind, words) = match meaning {
            Meaning::Stop | Meaning::StopAll => (Answered::Stop, &replies.stop),
            Meaning::Help => (Answered::Help, &replies.help),
            Meaning::Start | Meaning::Doubtful | Meaning::Answer => return Ok(()),
        };
        let Some(words) = words else { return Ok(()) };
        // From the text on, not from when it was read.
        let at = moment(case);
        let answer = NewAnswer {
            provider: case.provider.clone(),
            key,
            kind,
            at,
            until: at + ANSWERED_WITHIN,
            sender: kept(to),
            recipient: number.to_string(),
            text: words.pick(&applied.workspace.language_chain(language)).to_string(),
        };
        self.store.keep_answer(&answer).await.map(drop)
    }

    /// The text in the history.
    #[allow(clippy::too_many_arguments, reason = "what an event consists of")]
    async fn remember(
        &self,
        case: &Case,
        owner: &Owner,
        from: &str,
        to: &str,
        text: &str,
        meaning: Meaning,
        applied: &Applied,
    ) -> Result<(), Error> {
        let properties = json!({ "text": kept(text), "from": from, "to": kept(to), "meaning": meaning.word(), "provider": case.provider });
        let event = NewEvent {
            customer: owner.customer_id,
            name: EVENT.into(),
            occurred_at: micros(moment(case)),
            received_at: case.received_at,
            folded: None,
            properties: properties.to_string(),
            value: None,
            currency: None,
            source_key: case.key(),
        };
        let measures = self.store.measures(applied.counting.zone, &applied.workspace.currency).await?;
        self.store.ingest_events(&[event], &measures, true).await.map(drop)
    }

    async fn change_consent(
        &self,
        case: &Case,
        owner: &Owner,
        last: Option<&LastMessage>,
        text: &str,
        meaning: Meaning,
        applied: &Applied,
    ) -> Result<(), Error> {
        let changes: BTreeMap<String, ConsentState> = match meaning {
            Meaning::Stop => {
                let topics = last.and_then(|last| last.topic.as_deref()).map(|topic| applied.of_one_sender(topic)).unwrap_or_default();
                let topics = if topics.is_empty() { vec!["*".to_string()] } else { topics };
                topics.into_iter().map(|topic| (topic, ConsentState::Withdrawn)).collect()
            }
            Meaning::StopAll => BTreeMap::from([("*".to_string(), ConsentState::Withdrawn)]),
            Meaning::Start => revived(&self.store.consent_record(owner.customer_id).await?, micros(moment(case))),
            Meaning::Help | Meaning::Doubtful | Meaning::Answer => return Ok(()),
        };
        let proof = format!("text “{}”, {} {}", kept(text).chars().take(100).collect::<String>(), case.provider, case.told.id);
        let row = |(topic, state): (String, ConsentState)| ConsentRow {
            customer: owner.customer_id,
            channel: Channel::Sms.code(),
            state,
            at: micros(moment(case)),
            received_at: case.received_at,
            source: BY_KEYWORD.into(),
            proof: Some(proof.clone()),
            until: None,
            source_key: digest(&[b"keyword", &case.key(), topic.as_bytes()]),
            topic,
        };
        let rows: Vec<ConsentRow> = changes.into_iter().map(row).collect();
        self.store.append_consents(&rows, true).await.map(drop)
    }

    /// A doubtful number is not written to until a person has decided. Who is not known and leaves is suppressed by the number, so that whoever imports
    /// it later does not write to them.
    async fn change_suppression(&self, case: &Case, key: [u8; 16], meaning: Meaning, is_unknown: bool) -> Result<(), Error> {
        let source = match (meaning, is_unknown) {
            (Meaning::Doubtful, _) => IN_REVIEW,
            (Meaning::Stop | Meaning::StopAll, true) => BY_KEYWORD,
            // Whoever comes back in so many words is doubtful no more.
            (Meaning::Start, _) => return self.store.lift_reviews(&[key], &[IN_REVIEW, BY_KEYWORD]).await.map(drop),
            _ => return Ok(()),
        };
        let row = SuppressionRow {
            key,
            channel: Channel::Sms.code(),
            reason: SuppressionReason::Unsubscribe,
            since: micros(moment(case)),
            until: None,
            source: source.into(),
        };
        self.store.keep_suppressions(&[row]).await.map(drop)
    }
}

/// A provider's clock may be so far behind, and its webhook so late; what it calls older came when it was told.
const OLDEST: TimeDelta = TimeDelta::hours(72);

/// When a text was written. A provider's clock that is ahead of ours must not make a `stop` outlive what the person agrees to afterwards, nor one that is
/// far behind make it older than what they had agreed to.
fn moment(case: &Case) -> Time {
    let received = from_micros(case.received_at);
    case.told.at.filter(|at| *at <= received && received - *at < OLDEST).unwrap_or(received)
}

/// What is counted of the message that went there last: who leaves has left it, any other text is an answer to it.
fn answered(case: &Case, last: &LastMessage, meaning: Meaning) -> Option<ResponseRow> {
    let (response, scope) = match meaning {
        Meaning::Stop => (Response::Unsubscribed, Scope::Topic),
        Meaning::StopAll => (Response::Unsubscribed, Scope::Everything),
        Meaning::Answer | Meaning::Doubtful => (Response::Replied, Scope::Topic),
        Meaning::Start | Meaning::Help => return None,
    };
    Some(ResponseRow {
        message: last.message(),
        response,
        at: moment(case),
        received_at: from_micros(case.received_at),
        link: 0,
        visit: None,
        verdict: Verdict::Human,
        bounce: None,
        scope,
        source: BY_KEYWORD.into(),
        source_key: digest(&[b"answered", &case.key()]),
    })
}

/// What `start` gives back at `at`: topics that were agreed to and that nothing but a keyword has ended. `record` is newest first.
fn revived(record: &[ConsentLine], at: i64) -> BTreeMap<String, ConsentState> {
    let lines = || record.iter().filter(|line| line.channel == Channel::Sms.code() && line.at <= at);
    let is = |line: &ConsentLine, state: ConsentState| line.state == state.code();
    let by_keyword = |line: &ConsentLine| line.source == BY_KEYWORD;
    let mut topics: Vec<&str> = lines().map(|line| line.topic.as_str()).filter(|topic| *topic != "*").collect();
    topics.sort_unstable();
    topics.dedup();
    let mut revived = BTreeMap::new();
    for topic in topics {
        let agreed = lines().find(|line| line.topic == topic && (is(line, ConsentState::Granted) || is(line, ConsentState::Confirmed)));
        let Some(agreed) = agreed else { continue };
        // What came after it, for the topic and for all of them.
        let mut ended = lines()
            .filter(|line| (line.topic == topic || line.topic == "*") && line.at >= agreed.at && is(line, ConsentState::Withdrawn))
            .peekable();
        if ended.peek().is_some() && ended.all(by_keyword) {
            revived.insert(topic.to_string(), ConsentState::from_code(agreed.state).unwrap_or(ConsentState::Granted));
        }
    }
    revived
}

/// `+` and digits, as addresses are kept; providers write numbers with and without the plus.
pub(super) fn international(written: &str) -> Option<String> {
    let digits: String = written.chars().filter(char::is_ascii_digit).collect();
    PhoneNumber::parse(&format!("+{digits}"), None).ok().map(PhoneNumber::into_string)
}

fn kept(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n').take(LONGEST).collect()
}

/// What the text asks for; `said` is what the provider has taken it for, who acts on more words than ours.
fn asked(text: &str, said: Option<Keyword>) -> Meaning {
    match (meaning(text), said) {
        (Meaning::StopAll, _) => Meaning::StopAll,
        (_, Some(Keyword::Stop)) => Meaning::Stop,
        (_, Some(Keyword::Start)) => Meaning::Start,
        (_, Some(Keyword::Help)) => Meaning::Help,
        (own, None) => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(topic: &str, state: ConsentState, at: i64, source: &str) -> ConsentLine {
        ConsentLine { topic: topic.into(), channel: Channel::Sms.code(), state: state.code(), at, source: source.into(), proof: None }
    }

    #[test]
    fn start_gives_back_only_what_a_keyword_has_ended() {
        use ConsentState::{Confirmed, Granted, Withdrawn};
        let newest_first = |mut lines: Vec<ConsentLine>| {
            lines.reverse();
            revived(&lines, 100).into_iter().collect::<Vec<_>>()
        };
        let agreed = || line("offers", Granted, 1, "form");
        assert_eq!(newest_first(vec![agreed(), line("offers", Withdrawn, 5, "keyword")]), [("offers".to_string(), Granted)]);
        assert_eq!(newest_first(vec![agreed(), line("*", Withdrawn, 5, "keyword")]), [("offers".to_string(), Granted)]);
        assert_eq!(newest_first(vec![agreed(), line("offers", Withdrawn, 5, "page")]), []);
        assert_eq!(newest_first(vec![agreed(), line("*", Withdrawn, 4, "complaint"), line("offers", Withdrawn, 5, "keyword")]), []);
        assert_eq!(newest_first(vec![line("offers", Withdrawn, 5, "keyword")]), [], "who never agreed does not agree by it");
        assert_eq!(
            newest_first(vec![line("offers", Confirmed, 1, "form"), line("offers", Withdrawn, 5, "keyword")]),
            [("offers".to_string(), Confirmed)]
        );
        assert_eq!(newest_first(vec![agreed(), line("offers", Withdrawn, 500, "keyword")]), [], "what comes later is not ended by it");
        assert_eq!(newest_first(vec![agreed()]), [], "nothing was ended");
    }

    #[test]
    fn numbers_become_international_ones() {
        assert_eq!(international("447700900123"), None, "numbers of no range belong to nobody");
        assert_eq!(international("+380501234567"), Some("+380501234567".into()));
        assert_eq!(international("380501234567"), Some("+380501234567".into()));
        assert_eq!(international("SHOP"), None);
    }

    #[test]
    fn what_the_provider_has_understood_counts_too() {
        assert_eq!(asked("baja", Some(Keyword::Stop)), Meaning::Stop, "the provider acts on more words than ours");
        assert_eq!(asked("stop all", Some(Keyword::Stop)), Meaning::StopAll);
    }
}
