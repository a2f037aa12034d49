//! Sending domains as the world sees them: SPF, DKIM, DMARC, where bounces and answers go, and the names of sending hosts.

use super::dns::{Dns, Silence};
use super::{Finding, Patient};
use crate::campaigns::model::ProviderSettings;
use crate::providers::email::dkim::Signer;
use crate::types::Channel;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

/// RFC 7208 §4.6.4.
const MOST_LOOKUPS: usize = 10;
const ASK_AGAIN: &str = "see that this machine reaches its resolver, or name another one: --resolver ADDRESS:53";

/// Every domain that stands behind the @ of an identity, or under `domains`.
pub async fn all(patient: &Patient<'_>) -> Vec<Finding> {
    let workspace = patient.workspace;
    let leaves =
        |provider: &&ProviderSettings| provider.channel == Channel::Email && !matches!(provider.kind.as_str(), "catcher" | "folder");
    if !workspace.providers.values().any(|provider| leaves(&provider)) {
        let says = "no letter leaves this machine, so nobody looks at DNS yet";
        return vec![Finding::note(
            "domains",
            says,
            "once a provider sends mail to the outside, `posthaste doctor` looks at SPF, DKIM, DMARC and MX",
        )];
    }
    let mut domains: BTreeSet<String> = workspace.domains.keys().cloned().collect();
    domains.extend(workspace.identities.values().filter_map(|identity| identity.email.as_ref()).map(|email| of(&email.address)));
    // Providers with an interface of their own take bounces themselves, and sign.
    let relayed = workspace.providers.values().any(|provider| provider.kind == "smtp");
    // All at once: where nobody answers, that is waited for once.
    let each = domains.iter().map(|domain| one(patient, domain, relayed));
    let mut findings: Vec<Finding> = join_all(each).await.into_iter().flatten().collect();
    findings.extend(hosts(patient).await);
    findings
}

type Looking<'a> = Pin<Box<dyn Future<Output = Finding> + Send + 'a>>;

async fn one(patient: &Patient<'_>, domain: &str, relayed: bool) -> Vec<Finding> {
    let settings = patient.workspace.domains.get(domain);
    let bounces = settings.and_then(|settings| settings.bounces.as_deref()).map_or_else(|| domain.to_string(), of);
    let signer = settings.and_then(|settings| settings.dkim.as_ref());
    let signer = signer.map(|dkim| Signer::open(domain, dkim, &|text| patient.secrets.resolve(text)));
    let (mut records, mut told) = (Vec::new(), None);
    match signer {
        Some(Ok(Some(signer))) => records = signer.records(),
        Some(Err(error)) => {
            let change = "put the key into .env, or take `dkim` out of the domain";
            told = Some(Finding::wrong(format!("{domain} DKIM"), error.to_string(), change));
        }
        _ if relayed => {
            let change = format!(
                "unless the relay signs, make a key and name it: domains.{domain}.dkim of posthaste.yaml; large mailbox providers refuse unsigned mail"
            );
            told = Some(Finding::note(format!("{domain} DKIM"), "Posthaste signs nothing for it", change));
        }
        _ => {}
    }
    let dns = patient.dns;
    let mut looks: Vec<Looking<'_>> = vec![Box::pin(spf(dns, &bounces, relayed))];
    looks.extend(records.iter().map(|(name, record)| -> Looking<'_> { Box::pin(dkim(dns, name, record)) }));
    looks.extend(told.map(|told| -> Looking<'_> { Box::pin(std::future::ready(told)) }));
    looks.push(Box::pin(dmarc(dns, domain)));
    let takers = BTreeMap::from([(bounces.as_str(), "bounces"), (domain, "answers")]);
    looks.extend(takers.into_iter().map(|(what, takes)| -> Looking<'_> { Box::pin(mail(dns, what, takes)) }));
    join_all(looks).await
}

/// The domain of an address, or the domain itself.
fn of(address: &str) -> String {
    address.rsplit('@').next().unwrap_or_default().to_lowercase()
}

fn unasked(about: String, silence: Silence) -> Finding {
    Finding::silent(about, silence, ASK_AGAIN)
}

async fn spf(dns: &Dns, domain: &str, relayed: bool) -> Finding {
    let about = format!("{domain} SPF");
    let records = match dns.texts(domain).await {
        Ok(texts) => spf_records(&texts),
        Err(silence) => return unasked(about, silence),
    };
    let example = "v=spf1 include:RELAY ~all";
    match records.as_slice() {
        [] if relayed => {
            Finding::wrong(about, "there is no SPF record", format!("publish a TXT record at {domain} that names your relay: {example}"))
        }
        [] => Finding::note(
            about,
            "there is no SPF record",
            format!(
                "your providers bounce by domains of their own; publish one all the same if another relay sends for {domain}: {example}"
            ),
        ),
        [record] if record.split_whitespace().any(|term| matches!(term, "+all" | "all")) => {
            Finding::wrong(about, "its SPF record allows everybody to send (`+all`)", "end it with ~all or -all")
        }
        [record] => match spf_lookups(dns, record.clone(), &mut HashSet::new()).await {
            Ok(count) if count > MOST_LOOKUPS => {
                let says = format!("its SPF record needs {count} lookups, and more than {MOST_LOOKUPS} make it void");
                Finding::wrong(about, says, "take out `include`s that you do not send through")
            }
            Ok(count) => Finding::fine(about, format!("one record, {count} lookups")),
            Err(silence) => unasked(about, silence),
        },
        several => {
            let says = format!("there are {} SPF records, which makes all of them void", several.len());
            Finding::wrong(about, says, "join them into one")
        }
    }
}

fn spf_records(texts: &[String]) -> Vec<String> {
    let is_spf = |text: &String| text.eq_ignore_ascii_case("v=spf1") || text.to_ascii_lowercase().starts_with("v=spf1 ");
    texts.iter().filter(|text| is_spf(text)).map(|text| text.to_ascii_lowercase()).collect()
}

/// How many questions a record makes receivers ask; those of what it includes too.
fn spf_lookups<'a>(
    dns: &'a Dns,
    record: String,
    seen: &'a mut HashSet<String>,
) -> Pin<Box<dyn Future<Output = Result<usize, Silence>> + Send + 'a>> {
    Box::pin(async move {
        let mut count = 0;
        for term in record.split_whitespace().skip(1) {
            let term = term.trim_start_matches(['+', '-', '~', '?']);
            let name = term.split([':', '=', '/']).next().unwrap_or_default();
            if !matches!(name, "include" | "a" | "mx" | "ptr" | "exists" | "redirect") {
                continue;
            }
            count += 1;
            let inner = term.strip_prefix("include:").or_else(|| term.strip_prefix("redirect="));
            // What holds a macro is different for every message.
            if let Some(inner) = inner.filter(|inner| !inner.contains('%'))
                && count <= MOST_LOOKUPS
                && seen.insert(inner.to_string())
                && let Some(record) = spf_records(&dns.texts(inner).await?).into_iter().next()
            {
                count += spf_lookups(dns, record, seen).await?;
            }
        }
        Ok(count)
    })
}

async fn dkim(dns: &Dns, name: &str, expected: &str) -> Finding {
    let about = format!("{name} DKIM");
    let texts = match dns.texts(name).await {
        Ok(texts) => texts,
        Err(silence) => return unasked(about, silence),
    };
    let publish = format!("publish a TXT record at {name}: {expected}");
    let ours = tag(expected, "p");
    match texts.iter().find_map(|text| tag(text, "p")) {
        None => Finding::wrong(about, "the key with which mail is signed is not published", publish),
        Some(key) if key.is_empty() => Finding::wrong(about, "the key is published as revoked", publish),
        Some(key) if Some(&key) != ours.as_ref() => {
            Finding::wrong(about, "another key is published than the one with which mail is signed: every signature fails", publish)
        }
        Some(_) if texts.iter().any(|text| tag(text, "t").is_some_and(|flags| flags.split(':').any(|flag| flag == "y"))) => {
            Finding::note(about, "the key is published as a trial (`t=y`)", "take t=y out of the record once all goes well")
        }
        Some(_) => Finding::fine(about, "the key is published"),
    }
}

async fn dmarc(dns: &Dns, domain: &str) -> Finding {
    let about = format!("{domain} DMARC");
    let mut at = Some(domain);
    // The domain itself, then those above it, as far as they have a dot.
    while let Some(name) = at.filter(|name| name.contains('.')) {
        let texts = match dns.texts(&format!("_dmarc.{name}")).await {
            Ok(texts) => texts,
            Err(silence) => return unasked(about, silence),
        };
        let records: Vec<&String> =
            texts.iter().filter(|text| tag(text, "v").is_some_and(|version| version.eq_ignore_ascii_case("dmarc1"))).collect();
        match records.as_slice() {
            [] => at = name.split_once('.').map(|(_, above)| above),
            [record] => {
                let own = tag(record, "p").unwrap_or_default().to_lowercase();
                let policy = if name == domain { own } else { tag(record, "sp").map_or(own, |policy| policy.to_lowercase()) };
                return match policy.as_str() {
                    "reject" | "quarantine" => Finding::fine(about, format!("the policy is {policy} (at {name})")),
                    "none" => Finding::note(
                        about,
                        format!("the policy is none (at {name}): it only watches"),
                        "once the reports show only mail of yours, go on to p=quarantine",
                    ),
                    _ => Finding::wrong(
                        about,
                        format!("the record at {name} names no policy"),
                        "write v=DMARC1; p=none; rua=mailto:YOUR-ADDRESS",
                    ),
                };
            }
            several => {
                let says = format!("there are {} DMARC records at {name}, which makes all of them void", several.len());
                return Finding::wrong(about, says, "keep one");
            }
        }
    }
    let change = format!("publish a TXT record at _dmarc.{domain}: v=DMARC1; p=none; rua=mailto:YOUR-ADDRESS");
    Finding::wrong(about, "there is no DMARC record, and large mailbox providers refuse newsletters without one", change)
}

/// The value of a tag of a record like `v=DKIM1; p=…`, without blanks.
fn tag(record: &str, name: &str) -> Option<String> {
    record.split(';').find_map(|part| {
        let (found, value) = part.split_once('=')?;
        found.trim().eq_ignore_ascii_case(name).then(|| value.split_whitespace().collect())
    })
}

async fn mail(dns: &Dns, domain: &str, takes: &str) -> Finding {
    let about = format!("{domain} MX");
    let hosts = match dns.mail(domain).await {
        Ok(hosts) => hosts,
        Err(silence) => return unasked(about, silence),
    };
    match hosts.as_slice() {
        [null] if null.is_empty() => Finding::wrong(
            about,
            format!("it says that it takes no mail, so {takes} go nowhere"),
            "take the null MX away, and name a host that takes them",
        ),
        [] => match dns.addresses(domain).await {
            Ok(addresses) if !addresses.is_empty() => {
                Finding::note(about, format!("no MX, and {takes} go to the host itself"), "publish an MX record, if they shall come")
            }
            Ok(_) => {
                Finding::wrong(about, format!("nobody takes its mail, so {takes} go nowhere"), format!("publish an MX record at {domain}"))
            }
            Err(silence) => unasked(about, silence),
        },
        hosts => Finding::fine(about, format!("{takes} go to {}", hosts.join(", "))),
    }
}

/// Hosts that we know to be the sending ones: those by whose name we greet a relay on this machine.
async fn hosts(patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let greeting = patient.workspace.providers.values().filter(|provider| provider.kind == "smtp");
    let names: BTreeSet<&str> =
        greeting.filter_map(|provider| provider.settings.get("hello")?.as_str()).filter(|name| name.contains('.')).collect();
    for name in names {
        let about = format!("{name} PTR");
        let addresses = match patient.dns.addresses(name).await {
            Ok(addresses) => addresses,
            Err(silence) => {
                findings.push(unasked(about, silence));
                continue;
            }
        };
        if addresses.is_empty() {
            let change = format!("publish an A record at {name}, or say another `hello`");
            findings.push(Finding::wrong(about, "we greet by a name that has no address", change));
            continue;
        }
        for address in addresses {
            findings.push(reverse(patient.dns, name, address).await);
        }
    }
    findings
}

async fn reverse(dns: &Dns, name: &str, address: IpAddr) -> Finding {
    let about = format!("{name} PTR");
    match dns.names(address).await {
        Err(silence) => unasked(about, silence),
        Ok(names) if names.iter().any(|found| found == &name.to_lowercase()) => Finding::fine(about, format!("{address} leads back to it")),
        Ok(names) if names.is_empty() => {
            Finding::wrong(about, format!("{address} has no name"), format!("ask whoever gave you {address} to point it at {name}"))
        }
        Ok(names) => {
            let says = format!("{address} is called {}", names.join(", "));
            Finding::wrong(about, says, format!("ask whoever gave you {address} to point it at {name}, or say that name in `hello`"))
        }
    }
}
