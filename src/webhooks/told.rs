//! What a provider has told us of one message, in our words.

use crate::store::responses::Scope;
use crate::store::tallies::Bounce;
use crate::types::Time;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One happening to one person's message. Its JSON is what is kept while the message is not known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub what: What,
    /// The provider's own word for it.
    pub word: String,
    /// The same whenever the provider tells the same again, and different for everything else it tells.
    pub id: String,
    /// How the provider names the message; the first that is known is it.
    pub ids: Vec<String>,
    /// Everything in which our own mark of the message may have come back: tags, variables, references, Message-IDs.
    pub echoes: Vec<String>,
    /// The address that the message went to; of a text from outside, the number it came from.
    pub person: Option<String>,
    pub at: Option<Time>,
    /// What the receiving side said.
    pub reply: Option<String>,
    /// What the provider said.
    pub note: Option<String>,
    /// The address that was clicked.
    pub url: Option<String>,
    pub agent: Option<String>,
    pub tags: Vec<String>,
    pub variables: Map<String, Value>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// The provider has the message: nothing new, but proof for one that is uncertain.
    Accepted,
    /// It will be tried again by the provider.
    Deferred,
    Delivered,
    Bounced(Bounce),
    /// Not sent, since the address is on the provider's own list.
    Listed(List),
    /// Not sent for a reason that says nothing about the person: refused content, a template that fails.
    Failed,
    Opened {
        machine: bool,
    },
    Clicked {
        machine: bool,
    },
    Complained,
    Unsubscribed(Scope),
    /// The person asked the provider for mail again. Grants nothing here.
    Subscribed,
    /// An automatic answer.
    Answered,
    /// A text from outside, to our number.
    Text {
        to: String,
        text: String,
        /// The provider has taken the text for a keyword, and acts on it itself.
        keyword: Option<Keyword>,
    },
    /// Of no meaning for us.
    Nothing,
}

/// What the provider has taken a text for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keyword {
    Stop,
    Start,
    Help,
}

/// Why an address is on a provider's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum List {
    Bounced,
    Invalid,
    Complained,
    Unsubscribed,
    /// It does not say.
    Other,
}

/// Characters of a reply or a note that are kept.
const LONGEST: usize = 1024;

impl Told {
    /// `id` is made whole by `read` in each provider's file.
    pub(super) fn new(what: What, word: impl Into<String>) -> Told {
        Told {
            what,
            word: word.into(),
            id: String::new(),
            ids: Vec::new(),
            echoes: Vec::new(),
            person: None,
            at: None,
            reply: None,
            note: None,
            url: None,
            agent: None,
            tags: Vec::new(),
            variables: Map::new(),
        }
    }

    /// The provider's number of the event itself.
    pub(super) fn event(mut self, id: Option<String>) -> Told {
        self.id = id.unwrap_or_default();
        self
    }

    /// A name of the message; angle brackets of a Message-ID do not matter.
    pub(super) fn message(mut self, id: Option<String>) -> Told {
        for id in id.into_iter().filter(|id| !id.trim().is_empty()) {
            let bare = id.trim().trim_start_matches('<').trim_end_matches('>').to_string();
            if bare.contains('@') {
                self.echoes.push(bare.clone());
            }
            let forms = if bare.contains('@') { vec![format!("<{bare}>"), bare] } else { vec![bare] };
            self.ids.extend(forms);
        }
        self
    }

    pub(super) fn person(mut self, person: Option<String>) -> Told {
        self.person = person.map(|person| person.trim().to_string()).filter(|person| !person.is_empty());
        self
    }

    pub(super) fn at(mut self, at: Option<Time>) -> Told {
        self.at = at;
        self
    }

    pub(super) fn reply(mut self, reply: Option<String>) -> Told {
        self.reply = reply.map(short);
        self
    }

    pub(super) fn note(mut self, note: Option<String>) -> Told {
        self.note = note.map(short);
        self
    }

    pub(super) fn url(mut self, url: Option<String>) -> Told {
        self.url = url.map(short);
        self
    }

    pub(super) fn agent(mut self, agent: Option<String>) -> Told {
        self.agent = agent.map(short);
        self
    }

    /// Something in which our mark may have come back.
    pub(super) fn echo(mut self, echo: Option<String>) -> Told {
        self.echoes.extend(echo);
        self
    }

    pub(super) fn tags(mut self, tags: Vec<String>) -> Told {
        self.echoes.extend(tags.iter().cloned());
        self.tags = tags;
        self
    }

    pub(super) fn variables(mut self, variables: Option<&Map<String, Value>>) -> Told {
        for (name, value) in variables.into_iter().flatten() {
            self.echoes.extend(value.as_str().map(str::to_string));
            self.variables.insert(name.clone(), value.clone());
        }
        self
    }

    /// Fit to be stored: PostgreSQL keeps no text with a NUL in it, and one of a stranger's must not keep what others tell from being recorded.
    pub(super) fn storable(mut self) -> Told {
        let clean = |text: &mut String| {
            if text.contains('\0') {
                *text = text.replace('\0', "\u{fffd}");
            }
        };
        [&mut self.word, &mut self.id].into_iter().for_each(clean);
        [&mut self.person, &mut self.reply, &mut self.note, &mut self.url, &mut self.agent].into_iter().flatten().for_each(clean);
        [&mut self.ids, &mut self.echoes, &mut self.tags].into_iter().flatten().for_each(clean);
        if let What::Text { to, text, .. } = &mut self.what {
            [to, text].into_iter().for_each(clean);
        }
        self
    }

    /// Without a number of its own, an event is known by what it says.
    pub(super) fn known_by(mut self, parts: &[&str]) -> Told {
        if self.id.is_empty() {
            let person = self.person.as_deref().unwrap_or_default();
            let at = self.at.map(|at| at.timestamp_micros().to_string()).unwrap_or_default();
            let message = self.ids.first().map(String::as_str).unwrap_or_default();
            let all: Vec<&str> = [message, person, at.as_str()].into_iter().chain(parts.iter().copied()).collect();
            self.id = all.join("|");
        }
        self
    }
}

pub(super) fn short(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}
