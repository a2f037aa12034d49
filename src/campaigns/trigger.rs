//! `when`: a trigger, what happens to one customer and starts a campaign (files.md §3–4). Read as a condition without window and measure, at the
//! moment when it comes true.

use super::context::Context;
use super::part::Part;
use crate::segments::{Condition, ConsentCondition, EventCondition, MessageCondition, PropertyTests, Was};
use crate::types::Response;

/// What starts a campaign for a customer.
#[derive(Debug, Clone, PartialEq)]
pub enum Trigger {
    Event {
        name: String,
        filter: PropertyTests,
    },
    /// A response to a message of ours.
    Message(Box<MessageCondition>),
    /// A change of consent.
    Consent(ConsentCondition),
}

impl Trigger {
    /// Under which names what happens is kept: events' names, `message.RESPONSE`, `consent.TOPIC`.
    pub fn names(&self) -> Vec<String> {
        match self {
            Trigger::Event { name, .. } => vec![name.clone()],
            Trigger::Message(message) => message.was.iter().filter_map(|was| Some(format!("message.{}", response(*was)?))).collect(),
            Trigger::Consent(consent) => vec![format!("consent.{}", consent.topic), "consent.*".to_string()],
        }
    }

    /// In words, as the plan says it.
    pub fn words(&self) -> String {
        match self {
            Trigger::Event { name, .. } => format!("the event `{name}` happens"),
            Trigger::Message(message) => {
                let was: Vec<&str> = message.was.iter().map(|was| was.word()).collect();
                let of = if message.campaigns.is_empty() { "any campaign".to_string() } else { message.campaigns.join(", ") };
                format!("a message of {of} was {}", was.join(" or "))
            }
            Trigger::Consent(consent) => {
                let is: Vec<&str> = consent.is.iter().map(|is| is.word()).collect();
                format!("consent to `{}` becomes {}", consent.topic, is.join(" or "))
            }
        }
    }

    /// The event whose properties the template finds under `event`.
    pub fn event(&self) -> Option<&str> {
        match self {
            Trigger::Event { name, .. } => Some(name),
            _ => None,
        }
    }
}

/// The response that makes this true of a message; `None`: it is no response.
pub fn response(was: Was) -> Option<Response> {
    Some(match was {
        Was::Opened => Response::Opened,
        Was::Clicked => Response::Clicked,
        Was::Replied => Response::Replied,
        Was::Unsubscribed => Response::Unsubscribed,
        Was::Complained => Response::Complained,
        Was::Bounced => Response::Bounced,
        Was::Delivered => Response::Delivered,
        _ => return None,
    })
}

/// Reads what stands under `when`.
pub fn read(context: &mut Context<'_>, schedule: Part<'_>) -> Option<Trigger> {
    let node = schedule.get("when")?;
    let condition = context.condition(node)?;
    let mut wrong = |label: &str, help: &str| {
        context.problem(node.span, "this cannot start a campaign", label, help);
        None
    };
    match condition {
        Condition::Event(event) => {
            let EventCondition { name, window, filter, edge, without, save_as, .. } = &*event;
            let plain = window.is_empty() && event.is_plain() && edge.is_none() && without.is_none() && save_as.is_none();
            if !plain {
                return wrong("a trigger is one event as it happens", "leave out window, measure, first, last, without and as");
            }
            if filter.needs_customer() {
                return wrong(
                    "compares the event with the customer: not built yet",
                    "compare with a value written out, and ask the customer in `audience`",
                );
            }
            Some(Trigger::Event { name: name.clone(), filter: filter.clone() })
        }
        Condition::Message(message) => {
            if !message.window.is_empty() || !message.is_plain() {
                return wrong("a trigger is one response as it happens", "leave out window and measure");
            }
            if message.was.is_empty() || message.was.iter().any(|was| response(*was).is_none()) {
                let help = "take opened, clicked, replied, unsubscribed, complained, bounced or delivered";
                return wrong("only responses start a campaign: the rest is not built yet", help);
            }
            if !message.reason.is_empty() || !message.link.is_empty() {
                return wrong("`link` and `reason` are not built yet in a trigger", "leave them out, and narrow by `audience`");
            }
            Some(Trigger::Message(message))
        }
        Condition::Consent(consent) => {
            if !consent.window.is_empty() || consent.proof_missing || consent.is.contains(&crate::segments::ConsentIs::None) {
                return wrong("a trigger is one change of consent", "ask `is` granted, confirmed, pending or withdrawn, and nothing else");
            }
            Some(Trigger::Consent(consent))
        }
        _ => wrong("only events, messages and consent happen at a moment", "write for example { event: cart_updated }"),
    }
}
