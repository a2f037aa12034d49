//! What a happening changes: the response that is recorded, and the addresses that are suppressed.

use super::{Applied, Case, Feedback};
use crate::providers::email::reply::Class;
use crate::store::hooks::Candidate;
use crate::store::micros;
use crate::store::responses::{Detail, ResponseRow, Scope, Weight, digest};
use crate::store::strikes::Strike;
use crate::store::suppressions::SuppressionRow;
use crate::store::tallies::Bounce;
use crate::tracking::judge::{Agent, agent};
use crate::types::{Channel, MessageId, Response, SuppressionReason, Verdict};
use crate::webhooks::{List, Told, What, class};

/// Whether something is worth waiting for its message.
pub(super) fn matters(what: &What) -> bool {
    !matches!(what, What::Accepted | What::Deferred | What::Subscribed | What::Answered | What::Nothing | What::Text { .. })
}

/// Whether it shows that the provider has taken the message and sends it, or has sent it.
pub(super) fn proves(what: &What) -> bool {
    match what {
        What::Accepted
        | What::Deferred
        | What::Delivered
        | What::Bounced(_)
        | What::Opened { .. }
        | What::Clicked { .. }
        | What::Complained
        | What::Unsubscribed(_)
        | What::Answered => true,
        What::Listed(_) | What::Failed | What::Subscribed | What::Text { .. } | What::Nothing => false,
    }
}

/// What is recorded of a message; `None` where there is nothing to record.
pub(super) fn response(case: &Case, message: &Candidate, applied: &Applied) -> Option<(ResponseRow, Detail)> {
    let told = &case.told;
    let (response, bounce, scope) = match &told.what {
        What::Delivered => (Response::Delivered, None, Scope::Topic),
        What::Bounced(bounce) => (Response::Bounced, Some(*bounce), Scope::Topic),
        What::Complained => (Response::Complained, None, Scope::Everything),
        What::Unsubscribed(scope) => (Response::Unsubscribed, None, *scope),
        // The provider does not send to who has left: for us they have left, too.
        What::Listed(List::Unsubscribed) => (Response::Unsubscribed, None, Scope::Everything),
        // It did not go out, and says nothing new of the address: counted beside the bounces of a dead one, not among them.
        What::Listed(_) | What::Failed => (Response::Bounced, Some(Bounce::Blocked), Scope::Topic),
        What::Opened { .. } => (Response::Opened, None, Scope::Topic),
        // Our own links are counted when they are followed.
        What::Clicked { .. } if told.url.as_ref().is_some_and(|url| is_ours(url, &applied.workspace.public_url)) => return None,
        What::Clicked { .. } => (Response::Clicked, None, Scope::Topic),
        What::Accepted | What::Deferred | What::Subscribed | What::Answered | What::Text { .. } | What::Nothing => return None,
    };
    let row = ResponseRow {
        message: MessageId(message.id),
        response,
        at: case.at(),
        received_at: crate::store::from_micros(case.received_at),
        link: 0,
        visit: None,
        verdict: verdict(told),
        bounce,
        scope,
        source: source(case),
        source_key: case.key(),
    };
    let detail = detail(&row, told);
    Some((row, detail))
}

/// What is told of one part, as it is told of the message: it has arrived when all of its parts have, and has failed once, when one of them did. `parts`: how
/// many there are, and how many have arrived; none for what went in one.
pub(super) fn of_all_parts((mut row, detail): (ResponseRow, Detail), parts: Option<&(i64, i64)>) -> Option<(ResponseRow, Detail)> {
    let Some((all, arrived)) = parts else { return Some((row, detail)) };
    if row.response == Response::Delivered && arrived < all {
        return None;
    }
    if matches!(row.response, Response::Delivered | Response::Bounced) {
        row.source_key = digest(&[b"parts", &row.message.0.to_be_bytes(), row.response.word().as_bytes()]);
    }
    Some((row, detail))
}

/// What the receiving side said, and how it weighs for the address: a mailbox that is disabled or a domain that takes no mail may come back
/// (standards.md §1.8), whatever the provider calls it.
fn detail(row: &ResponseRow, told: &Told) -> Detail {
    let not_sent = !proves(&told.what);
    let Some(bounce) = row.bounce else { return Detail { not_sent, ..Detail::default() } };
    let text = told.reply.clone().or_else(|| told.note.clone());
    let class = text.as_deref().filter(|_| matches!(told.what, What::Bounced(_))).and_then(|text| class(bounce, text));
    let weight = match (bounce, class) {
        (Bounce::Hard, Some(Class::Domain | Class::Inactive)) => Some(Weight::Strike(Strike::Dead)),
        _ => None,
    };
    let drops_consent = bounce == Bounce::Hard && class == Some(Class::OwnerChanged);
    Detail { weight, drops_consent, not_sent, status: None, class: None, text }
}

fn is_ours(url: &str, public_url: &str) -> bool {
    url.strip_prefix(public_url.trim_end_matches('/')).is_some_and(|path| path.starts_with("/c/"))
}

/// A provider says so, or the program that came is a known machine.
fn verdict(told: &Told) -> Verdict {
    let machine = match told.what {
        What::Opened { machine } | What::Clicked { machine } => machine || told.agent.as_deref().is_some_and(is_machine),
        _ => false,
    };
    if machine { Verdict::Machine } else { Verdict::Human }
}

fn is_machine(name: &str) -> bool {
    !name.is_empty() && matches!(agent(name), Agent::Prefetch | Agent::Robot)
}

/// Characters of a source: of what was said, its beginning.
const LONGEST: usize = 300;

/// The provider's name, and what it said where that explains something.
fn source(case: &Case) -> String {
    let told = &case.told;
    let said = match told.what {
        What::Bounced(_) | What::Listed(_) | What::Failed => told.reply.as_ref().or(told.note.as_ref()),
        _ => None,
    };
    let mut source = match said {
        Some(said) => format!("{}: {}", case.provider, said.trim()),
        None => case.provider.clone(),
    };
    source.retain(|c| !c.is_control());
    source.truncate(source.floor_char_boundary(LONGEST));
    source
}

impl Feedback {
    /// An address that the provider has on its list, or whose owner complained; known or not: whoever imports it later is not sent to either.
    pub(super) fn suppressed(&self, case: &Case, message: Option<&Candidate>) -> Option<SuppressionRow> {
        let reason = match case.told.what {
            What::Listed(List::Bounced | List::Invalid | List::Complained | List::Other) => SuppressionReason::Provider,
            What::Complained => SuppressionReason::Complaint,
            _ => return None,
        };
        let address = message.and_then(|message| message.address.as_deref()).or(case.told.person.as_deref())?;
        let channel = match message.and_then(|message| Channel::from_code(message.channel)) {
            Some(channel) => channel,
            None if address.contains('@') => Channel::Email,
            // Which form a strange number has is not known.
            None => return None,
        };
        let key = self.keys.address(channel, address);
        let since = micros(case.at());
        // Not what was said: it may name the address, and a suppression outlives all else that is known of a person.
        Some(SuppressionRow { key, channel: channel.code(), reason, since, until: None, source: case.provider.clone() })
    }
}
