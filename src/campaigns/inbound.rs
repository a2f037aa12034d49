//! `inbound` of posthaste.yaml: how mail that comes back reaches us.

use super::model::{Inbound, Mailbox};
use super::part::Part;
use crate::diagnostics::Problems;
use std::collections::BTreeSet;

pub fn read(part: Part<'_>, problems: &mut Problems) -> Option<Inbound> {
    let inbound = part.inner("inbound")?;
    if let Some(listen) = inbound.text("listen").filter(|text| !text.contains("${"))
        && listen.parse::<std::net::SocketAddr>().is_err()
    {
        problems.push(
            part.problem(inbound.span("listen"), format!("`{listen}` is no address to listen at"))
                .label("an address and a port of this machine")
                .help("write one like 0.0.0.0:25, or 127.0.0.1:2526 behind a relay"),
        );
    }
    let domains: BTreeSet<String> = inbound.texts("domains").into_iter().map(|domain| domain.to_lowercase()).collect();
    let mailbox = inbound.inner("mailbox").map(|mailbox| Mailbox {
        host: mailbox.owned("host").unwrap_or_default(),
        port: mailbox.whole("port").and_then(|port| u16::try_from(port).ok()),
        user: mailbox.owned("user").unwrap_or_default(),
        password: mailbox.owned("password").unwrap_or_default(),
        folder: mailbox.owned("folder").unwrap_or_else(|| "INBOX".to_string()),
        tls: mailbox.text("security").map(|security| security == "tls"),
    });
    let forward_replies_to = inbound.owned("forward_replies_to");
    if let Some(address) = &forward_replies_to
        && let Some((_, domain)) = address.rsplit_once('@')
        && domains.contains(&domain.to_lowercase())
    {
        problems.push(
            part.problem(inbound.span("forward_replies_to"), format!("answers would come back to us from {address}"))
                .label("its domain is among `domains`, whose mail is taken here")
                .help("name a mailbox that people read"),
        );
    }
    let tls = match (inbound.owned("certificate"), inbound.owned("key")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (certificate, _) => {
            let (there, missing) = if certificate.is_some() { ("certificate", "key") } else { ("key", "certificate") };
            problems.push(
                part.problem(inbound.key_span(there), format!("`{there}` stands without `{missing}`"))
                    .label("TLS needs both")
                    .help(format!("add `{missing}:` with a file in PEM, or take `{there}` away")),
            );
            None
        }
    };
    if !inbound.has("listen") && mailbox.is_none() {
        problems.push(
            part.problem(part.key_span("inbound"), "`inbound` names no way for mail to come in")
                .label("neither `listen` nor `mailbox`")
                .help("add listen: 0.0.0.0:25, or mailbox: { host: …, user: …, password: \"${MAILBOX_PASSWORD}\" }"),
        );
    }
    Some(Inbound {
        listen: inbound.owned("listen"),
        lmtp: inbound.text("protocol") == Some("lmtp"),
        hello: inbound.owned("hello").unwrap_or_else(|| "localhost".to_string()),
        tls,
        domains,
        mailbox,
        forward_replies_to,
    })
}
