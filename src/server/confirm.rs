//! Double opt-in: a page with a button; only its POST confirms, never a GET, so that scanners confirm nobody.

use super::visitor::Visitor;
use super::{Inner, Shared, forms, pages, preferences, unsubscribe, words};
use crate::customers::signup::{self, Confirmation};
use crate::store::links::Addressed;
use crate::store::wishes::{Asked, Choice, Objection, Standing, Wishes};
use crate::tracking::Kind;
use crate::types::{Channel, ConsentState, MessageId};
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

pub async fn page(
    axum::extract::State(inner): Shared,
    method: Method,
    Path(token): Path<String>,
    headers: HeaderMap,
    visitor: Visitor,
    body: Bytes,
) -> Response {
    let (message, addressed) = match super::opened(&inner, Kind::Confirm, &token, &method, &headers).await {
        Ok(opened) => opened,
        Err(answer) => return *answer,
    };
    // A message without a topic asks for nothing that could be confirmed.
    let Some(topic) = addressed.topic.clone() else { return pages::not_found(&headers) };
    let site = inner.site();
    let language = words::language(&site, addressed.language.as_deref(), &headers);
    let about = pages::about(&site, Some(&addressed), language);
    let about = pages::with(about, json!({ "preferences": inner.tokens.sign(Kind::Preferences, message) }));
    if inner.clock.now() > crate::store::from_micros(addressed.at) + signup::LINK_LIFE {
        return pages::page(StatusCode::NOT_FOUND, "confirm_expired", language, &about);
    }
    let Ok(standing) = inner.store.standing(addressed.customer_id, inner.clock.now()).await else { return pages::away(&headers) };
    let answer = answer(&standing, &addressed, &topic);
    if method != Method::POST {
        let about = pages::with(about, json!({ "objected": answer == Answer::Confirms && standing.objected_since().is_some() }));
        return pages::page(StatusCode::OK, "confirm", language, &about);
    }
    if !unsubscribe::form(&headers, &body).iter().any(|(name, _)| name == "confirm") {
        return (StatusCode::BAD_REQUEST, "the button of the page was not pressed\n").into_response();
    }
    if answer == Answer::Late {
        return pages::page(StatusCode::OK, "not_confirmed", language, &about);
    }
    if !confirm(&inner, &addressed, &topic, (message, answer), language, &visitor, &standing).await {
        return pages::away(&headers);
    }
    pages::page(StatusCode::OK, "confirmed", language, &about)
}

/// What pressing the button comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Confirms,
    /// It is confirmed already.
    Stands,
    /// Who has withdrawn or objected since the message is not brought back by an old letter.
    Late,
}

fn answer(standing: &Standing, addressed: &Addressed, topic: &str) -> Answer {
    let of = |topic: &str| standing.consents.get(&(topic.to_string(), addressed.channel)).copied();
    let ended = |(state, at): (ConsentState, i64)| matches!(state, ConsentState::Withdrawn | ConsentState::Objected) && at > addressed.at;
    if [of(topic), of("*")].into_iter().flatten().any(ended) && !preferences::has(&standing.consents, topic, addressed.channel) {
        Answer::Late
    } else if of(topic).is_some_and(|(state, _)| state == ConsentState::Confirmed)
        && preferences::has(&standing.consents, topic, addressed.channel)
    {
        Answer::Stands
    } else {
        Answer::Confirms
    }
}

/// False when the database is away. An objection from before the message is taken back: its person asks for this now.
async fn confirm(
    inner: &Inner,
    addressed: &Addressed,
    topic: &str,
    (message, answer): (MessageId, Answer),
    language: &str,
    visitor: &Visitor,
    standing: &Standing,
) -> bool {
    let channel = Channel::from_code(addressed.channel).unwrap_or(Channel::Email);
    let network = forms::network(visitor.address, &visitor.visit.network);
    let confirmation = Confirmation {
        message,
        customer: addressed.customer_id,
        channel,
        topic,
        address: addressed.address.as_deref(),
        network: &network,
        agent: &visitor.visit.agent,
        at: inner.clock.now(),
    };
    let by_forms = match signup::confirm(&inner.store, &confirmation).await {
        Ok(forms) => forms,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, message = message.0, "a confirmation was not stored");
            return false;
        }
    };
    by_forms.iter().for_each(|form| inner.forms.count(form, "confirmed", confirmation.at));
    // Not by a form: brought in by an import as pending.
    let is_new = by_forms.is_empty() && answer == Answer::Confirms;
    let choice = is_new.then(|| Choice { topic: topic.to_string(), channel, state: ConsentState::Confirmed });
    let wishes = Wishes {
        choices: choice.into_iter().collect(),
        objection: standing.objected_since().map(|_| Objection::TakeBack),
        ..Wishes::default()
    };
    let proof = preferences::proof(message, "confirmation page", language, visitor);
    let asked = Asked { customer: addressed.customer_id, at: confirmation.at, proof: &proof };
    inner.store.keep_wishes(&asked, &wishes).await.is_ok()
}
