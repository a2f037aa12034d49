//! `posthaste render TEMPLATE --data FILE`: a template with a JSON object, as a person would get it.

use super::{Exit, Format, Global};
use crate::diagnostics::{Files, Problem, Problems};
use crate::literals::Words;
use crate::templates::{Body, Languages, Library, Links, MessageTemplate, Reader, RenderError, Rendered, Source, Track, sms};
use crate::types::{Channel, Class};
use crate::yaml;
use anyhow::{Context, anyhow};
use clap::Args;
use serde_json::{Value, json};
use std::io::Read;
use std::path::PathBuf;

/// Arguments of `render`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The template's name, `spring-sale`, or its file, templates/spring-sale.uk.mjml
    template: String,
    /// A file with a JSON object: what templates know of the customer, event, content … (`-` reads the standard input)
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// The reader's language; without it the data's `language`, else the workspace's first
    #[arg(long, value_name = "LANGUAGE")]
    language: Option<String>,
    /// A subject to render with it
    #[arg(long, value_name = "WORDS", default_value = "")]
    subject: String,
    /// A preheader to render with it
    #[arg(long, value_name = "WORDS", default_value = "")]
    preheader: String,
    /// Which rules the lint follows: advertising, informational or transactional
    #[arg(long, default_value = "advertising", value_parser = class)]
    class: Class,
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let files = global.workspace().files()?;
    let place = Place::read(&files);
    let mut problems = Problems::default();
    let library = Library::read(&files, &place.languages, &mut problems);
    let (name, of_file) = named(&arguments.template, &place.languages);
    let data = data(&arguments)?;
    let language = arguments
        .language
        .clone()
        .or(of_file)
        .or_else(|| data.get("language").and_then(Value::as_str).map(str::to_string))
        .or_else(|| place.languages.all.first().cloned())
        .unwrap_or_default();
    let own = of_template(&problems, &library, &name);
    let template = match compiled(&library, &arguments, &name, &place.languages.chain(Some(&language))) {
        Ok(template) => template,
        Err(found) => {
            let mut all = own;
            found.into_iter().for_each(|problem| all.push(problem));
            eprint!("{}", all.render(&files, false, 120));
            return Ok(Exit::Problems);
        }
    };
    let reader = Reader { language: &language, zone: place.zone, currency: &place.currency, now: global.clock().now(), rows: None };
    let rendered = template.render(&data, &reader).map_err(|error| explained(&error, &template))?;
    let mut lint = own;
    for fault in template.lint(arguments.class) {
        if fault.part != crate::templates::Part::Subject || !arguments.subject.is_empty() {
            lint.push(fault.at("", None));
        }
    }
    rendered.lint().into_iter().for_each(|problem| lint.push(problem));
    if global.format == Format::Json {
        println!("{:#}", told(&name, template.language(), &rendered, &lint, &files));
    } else {
        show(&rendered);
        eprint!("{}", lint.render(&files, false, 120));
        eprintln!("{}", summary(&rendered));
    }
    Ok(Exit::Done)
}

/// What a template needs of posthaste.yaml.
struct Place {
    languages: Languages,
    zone: chrono_tz::Tz,
    currency: String,
}

impl Place {
    /// Read leniently: problems of the file are `check`'s to tell.
    fn read(files: &Files) -> Place {
        let text = files.text("posthaste.yaml").unwrap_or("");
        let node = yaml::read("posthaste.yaml", text, &mut Problems::default());
        let value = |key: &str| node.as_ref().and_then(|node| node.get(key));
        let word = |key: &str| value(key).and_then(|node| node.text()).unwrap_or("").to_string();
        let all = value("languages").and_then(|node| node.list()).unwrap_or_default();
        let fallback = value("fallback").and_then(|node| node.map()).unwrap_or_default();
        Place {
            languages: Languages {
                all: all.iter().filter_map(|node| node.text()).map(str::to_string).collect(),
                fallback: fallback.iter().filter_map(|(key, node)| Some((key.text.clone(), node.text()?.to_string()))).collect(),
            },
            zone: word("zone").parse().unwrap_or(chrono_tz::UTC),
            currency: word("currency"),
        }
    }
}

/// The name, and the language when a file was named.
fn named(written: &str, languages: &Languages) -> (String, Option<String>) {
    let inside = written.trim_start_matches("./").trim_start_matches("templates/");
    let stem = [".txt.hbs", ".hbs", ".mjml"].iter().find_map(|ending| inside.strip_suffix(ending)).unwrap_or(inside);
    match stem.rsplit_once('.') {
        Some((name, language)) if languages.all.iter().any(|known| known == language) => (name.to_string(), Some(language.to_string())),
        _ => (stem.to_string(), None),
    }
}

fn data(arguments: &Arguments) -> anyhow::Result<Value> {
    let text = match &arguments.data {
        None => return Ok(json!({})),
        Some(path) if path.as_os_str() == "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read the standard input")?;
            text
        }
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
    };
    let value: Value = serde_json::from_str(&text).context("the data are no JSON")?;
    if value.is_object() { Ok(value) } else { Err(anyhow!("the data must be a JSON object, `{{\"first_name\": \"Ada\"}}`")) }
}

/// An email where the template has a part for it, else a text message.
fn compiled(library: &Library, arguments: &Arguments, name: &str, chain: &[String]) -> Result<MessageTemplate, Vec<Problem>> {
    let (subject, preheader) = (Words::of(arguments.subject.as_str()), Words::of(arguments.preheader.as_str()));
    let channel = if library.is_email(name) { Channel::Email } else { Channel::Sms };
    let source = Source { channel, body: Body::Template(name), subject: &subject, preheader: &preheader };
    MessageTemplate::compile(library, &source, chain, Track::default(), &mut Links::new())
        .map_err(|faults| faults.into_iter().map(|fault| fault.at("", None)).collect())
}

/// Problems of the files that this template is made of.
fn of_template(problems: &Problems, library: &Library, name: &str) -> Problems {
    let reached = library.reaches(name);
    let mut own = Problems::default();
    let begins = format!("templates/{name}.");
    for problem in problems.iter().filter(|problem| reached.contains(&problem.file) || problem.file.starts_with(&begins)) {
        own.push(problem.clone());
    }
    own
}

fn explained(error: &RenderError, template: &MessageTemplate) -> anyhow::Error {
    let RenderError::Missing { variable } = error else { return anyhow!("{error}") };
    match template.needs().iter().find(|need| need.path == *variable) {
        Some(need) if !need.place.file.is_empty() => {
            anyhow!(
                "{error}: {}:{}:{} reads it; add it to the data, or write `{{{{default {variable} '…'}}}}`",
                need.place.file,
                need.place.line,
                need.place.column
            )
        }
        _ => anyhow!("{error}: add it to the data, or write `{{{{default {variable} '…'}}}}`"),
    }
}

fn told(name: &str, language: &str, rendered: &Rendered, lint: &Problems, files: &Files) -> Value {
    let mut found = json!({
        "template": name, "language": language, "subject": rendered.subject, "preheader": rendered.preheader,
        "html": rendered.html, "text": rendered.text, "size": rendered.size(), "lint": lint.to_json(files),
    });
    if rendered.html.is_none() {
        found["sms"] = json!(sms::parts(&rendered.text));
    }
    found
}

fn show(rendered: &Rendered) {
    if !rendered.subject.is_empty() {
        println!("Subject: {}\n", rendered.subject);
    }
    if let Some(html) = &rendered.html {
        println!("{html}\n\n---- text ----\n");
    }
    println!("{}", rendered.text.trim_end());
}

fn summary(rendered: &Rendered) -> String {
    match &rendered.html {
        Some(_) => {
            format!("HTML {} bytes of {} that Gmail shows; text {} bytes", rendered.size(), crate::templates::CLIPPED, rendered.text.len())
        }
        None => {
            let parts = sms::parts(&rendered.text);
            let alphabet = if parts.alphabet == sms::Alphabet::Gsm7 { "GSM-7" } else { "UCS-2" };
            let because = parts.because.map_or(String::new(), |c| format!(" because of `{c}`"));
            format!("as a text message: {} of {alphabet}{because}, parts: {}", parts.units, parts.parts)
        }
    }
}

fn class(word: &str) -> Result<Class, String> {
    Class::from_word(word).ok_or_else(|| format!("`{word}` is no class: advertising, informational or transactional"))
}
