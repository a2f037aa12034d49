//! The helpers that templates call (files.md §5), registered for one rendering with what they need to know.
//!
//! They see missing values themselves: what a condition asks for may be missing, what is written may not.

use super::format::{self, Language};
use super::library::Locale;
use super::message::{Reader, Track};
use super::{marks, names};
use handlebars::{
    BlockContext, BlockParams, Context, Handlebars, Helper, HelperDef, HelperResult, JsonRender, JsonTruthy, Output, PathAndJson,
    RenderContext, RenderError, RenderErrorReason, Renderable, ScopedJson,
};
use serde_json::Value;
use std::cmp::Ordering;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering as Memory};

/// Rounds of all loops of one part together.
const ROUNDS: u32 = 50_000;
/// The longest list that `range` makes.
const LONGEST_RANGE: i64 = 1_000;

/// Stands in an output where a value held a character that must not be there. Nothing else can put it there.
pub(super) const FORBIDDEN: char = '\u{0}';

/// In what the values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escape {
    Html,
    /// A text part: lines and tabs may stand in values.
    Text,
    /// A subject, a preheader or an SMS: no control character at all.
    Line,
}

/// Why a function ends a rendering.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stop {
    #[error("{0}")]
    Refused(String),
    #[error("loops of this template go round more than {ROUNDS} times")]
    Endless,
    #[error("{0}")]
    Wrong(String),
}

/// What functions know of this rendering.
pub(super) struct Scene<'a> {
    pub reader: &'a Reader<'a>,
    pub locale: &'a Locale,
    pub language: Language<'a>,
    pub escape: Escape,
    /// SMS: no characters that would make a Latin text UCS-2.
    pub is_sms: bool,
    pub track: Track,
    pub rounds: AtomicU32,
}

type Given<'h, 'rc> = &'h Helper<'rc>;
type Answer = Result<Option<Value>, RenderError>;
type Call = fn(Given<'_, '_>, &Scene<'_>) -> Answer;

/// Values of one function: `None` is a missing value.
const VALUES: &[(&str, Call)] = &[
    ("default", default),
    ("upper", |given, _| text(given, 0).map(|text| Some(text.to_uppercase().into()))),
    ("lower", |given, _| text(given, 0).map(|text| Some(text.to_lowercase().into()))),
    ("capitalize", |given, _| text(given, 0).map(|text| Some(capitalized(&text).into()))),
    ("join", join),
    ("format_date", |given, scene| {
        let style = option(given, "style")?.unwrap_or_else(|| "medium".into());
        let written = text(given, 0)?;
        answer(format::date(&written, &style, scene.language, scene.reader.zone), &written)
    }),
    ("format_time", |given, scene| {
        let written = text(given, 0)?;
        answer(format::time(&written, scene.language, scene.reader.zone), &written)
    }),
    ("format_number", |given, scene| {
        let written = text(given, 0)?;
        answer(format::number(&written, decimals(given)?, scene.language, scene.is_sms), &written)
    }),
    ("format_money", money),
    ("plural", plural),
    ("days_until", |given, scene| {
        let written = text(given, 0)?;
        let days = format::day(&written, scene.reader.zone)
            .map(|day| (day - scene.reader.now.with_timezone(&scene.reader.zone).date_naive()).num_days());
        match days {
            Some(days) => Ok(Some(days.into())),
            None => Err(wrong(format!("`{written}` is no date"))),
        }
    }),
    ("find", |given, scene| {
        let (catalog, key) = (text(given, 0)?, text(given, 1)?);
        Ok(scene.reader.rows.and_then(|rows| rows.row(&catalog, &key)))
    }),
    ("unique", unique),
    ("take", |given, _| {
        let count = usize::try_from(whole(given, 1)?).unwrap_or(0);
        Ok(Some(Value::Array(list(given, 0)?.iter().take(count).cloned().collect())))
    }),
    ("range", |given, _| {
        let (from, to) = if given.param(1).is_some() { (whole(given, 0)?, whole(given, 1)?) } else { (1, whole(given, 0)?) };
        if to.saturating_sub(from) >= LONGEST_RANGE {
            return Err(wrong(format!("range makes at most {LONGEST_RANGE} numbers")));
        }
        Ok(Some((from..=to).map(Value::from).collect()))
    }),
    ("url_encode", |given, _| text(given, 0).map(|text| Some(url_encoded(&text).into()))),
    ("vocative", |given, scene| text(given, 0).map(|name| Some(names::vocative(&name, scene.language.code()).into()))),
    ("name_case", |given, scene| {
        let (name, case) = (text(given, 0)?, text(given, 1)?);
        let Some(case) = names::Case::from_word(&case) else { return Err(wrong(format!("`{case}` is no case of names"))) };
        Ok(Some(names::in_case(&name, case, scene.language.code()).into()))
    }),
    ("refuse", |given, _| {
        let reason = given.param(0).map(|param| param.value().render()).unwrap_or_default();
        Err(stop(Stop::Refused(reason)))
    }),
    ("t", |given, scene| {
        let key = text(given, 0)?;
        let Some(words) = scene.locale.get(&key) else { return Err(wrong(format!("no locale has `{key}`"))) };
        let mut words = words.clone();
        for (name, value) in given.hash() {
            words = words.replace(&format!("{{{name}}}"), &present(value)?.render());
        }
        Ok(Some(words.into()))
    }),
    ("lookup", |given, _| {
        let (Some(whole), Some(key)) = (given.param(0), given.param(1)) else { return Ok(None) };
        Ok(match (whole.value(), key.value()) {
            (Value::Array(items), key) => number(key).and_then(|at| items.get(at as usize)).cloned(),
            (Value::Object(map), key) => map.get(&key.render()).cloned(),
            _ => None,
        })
    }),
    ("eq", |given, _| Ok(Some(equal(given).into()))),
    ("ne", |given, _| Ok(Some((!equal(given)).into()))),
    ("gt", |given, _| Ok(Some((order(given) == Some(Ordering::Greater)).into()))),
    ("gte", |given, _| Ok(Some(matches!(order(given), Some(Ordering::Greater | Ordering::Equal)).into()))),
    ("lt", |given, _| Ok(Some((order(given) == Some(Ordering::Less)).into()))),
    ("lte", |given, _| Ok(Some(matches!(order(given), Some(Ordering::Less | Ordering::Equal)).into()))),
    ("and", |given, _| Ok(Some(given.params().iter().all(is_true).into()))),
    ("or", |given, _| Ok(Some(given.params().iter().any(is_true).into()))),
    ("not", |given, _| Ok(Some((!given.param(0).is_some_and(is_true)).into()))),
    ("len", |given, _| {
        let length = match given.param(0).map(PathAndJson::value) {
            Some(Value::Array(items)) => items.len(),
            Some(Value::Object(map)) => map.len(),
            Some(Value::String(text)) => text.chars().count(),
            _ => 0,
        };
        Ok(Some(length.into()))
    }),
    ("$raw", |given, _| {
        let written = present_at(given, 0)?.render();
        Ok(Some(if written.chars().any(|c| is_forbidden(c, Escape::Text)) { FORBIDDEN.to_string() } else { written }.into()))
    }),
    ("$round", |_, scene| match scene.rounds.fetch_add(1, Memory::Relaxed) {
        rounds if rounds >= ROUNDS => Err(stop(Stop::Endless)),
        _ => Ok(Some("".into())),
    }),
];

const BLOCKS: &[&str] = &["if", "unless", "each", "with"];

/// Functions that may only be asked whether something is there: their arguments may be missing.
pub(super) const LENIENT: &[&str] = &["default", "if", "unless", "eq", "ne", "gt", "gte", "lt", "lte", "and", "or", "not", "len", "lookup"];

/// Later work, named so that its problem is clear.
pub(super) const LATER: &[&str] = &["survey_url"];

/// Every name that a template may call.
pub(super) fn known() -> impl Iterator<Item = &'static str> {
    VALUES.iter().map(|(name, _)| *name).filter(|name| !name.starts_with('$')).chain(BLOCKS.iter().copied())
}

pub(super) fn is_function(name: &str) -> bool {
    name.starts_with('$') || known().any(|known| known == name)
}

/// The registries: strict, with the escaping of each context, and without any helper but the built-in blocks.
pub(super) fn registry(escape: Escape) -> &'static Handlebars<'static> {
    static ALL: LazyLock<[Handlebars<'static>; 3]> = LazyLock::new(|| {
        [Escape::Html, Escape::Text, Escape::Line].map(|escape| {
            let mut registry = Handlebars::new();
            registry.set_strict_mode(true);
            registry.set_prevent_indent(true);
            registry.register_escape_fn(move |text| escaped(text, escape));
            registry
        })
    });
    &ALL[escape as usize]
}

/// Registers the functions `used` for this rendering.
pub(super) fn register<'reg: 'rc, 'rc>(context: &mut RenderContext<'reg, 'rc>, used: &[&'static str], scene: &'rc Scene<'rc>) {
    for name in used {
        if let Some((_, call)) = VALUES.iter().find(|(known, _)| known == name) {
            context.register_local_helper(name, Box::new(ValueFunction { call: *call, scene }));
        } else if matches!(*name, "$link" | "$src") {
            context.register_local_helper(name, Box::new(LinkFunction { is_link: *name == "$link", scene }));
        } else if *name == "$scope" {
            context.register_local_helper(name, Box::new(ScopeFunction));
        }
    }
}

/// The static name of a function, if it is registered for each rendering.
pub(super) fn registered(name: &str) -> Option<&'static str> {
    VALUES.iter().map(|(known, _)| *known).chain(["$link", "$src", "$scope"]).find(|known| *known == name)
}

struct ValueFunction<'a> {
    call: Call,
    scene: &'a Scene<'a>,
}

impl ValueFunction<'_> {
    /// What is missing stays missing, so that `{{default (vocative first_name) 'friend'}}` sees it.
    fn value(&self, given: &Helper<'_>) -> Answer {
        match (self.call)(given, self.scene) {
            Err(error) if matches!(error.reason(), RenderErrorReason::MissingVariable(_)) => Ok(None),
            answer => answer,
        }
    }
}

impl HelperDef for ValueFunction<'_> {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        given: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        Ok(self.value(given)?.map_or(ScopedJson::Missing, ScopedJson::Derived))
    }

    fn call<'reg: 'rc, 'rc>(
        &self,
        given: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        rendering: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let Some(value) = self.value(given)? else {
            let missing = given.params().iter().chain(given.hash().values()).find(|param| param.is_value_missing());
            return Err(RenderError::strict_error(missing.and_then(PathAndJson::relative_path)));
        };
        let written = value.render();
        match rendering.is_disable_escape() {
            true => out.write(&written)?,
            false => out.write(&escaped(&written, self.scene.escape))?,
        }
        Ok(())
    }
}

/// `{{#$link 3}}https://…{{name}}{{/$link}}`: an address with values in it, as a mark or as itself.
struct LinkFunction<'a> {
    is_link: bool,
    scene: &'a Scene<'a>,
}

impl HelperDef for LinkFunction<'_> {
    fn call<'reg: 'rc, 'rc>(
        &self,
        given: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        context: &'rc Context,
        rendering: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let Some(template) = given.template() else { return Ok(()) };
        // Rendered as a line without escaping: the address itself.
        let _ = registry;
        let target = template.renders(self::registry(Escape::Line), context, rendering)?;
        let target = target.trim();
        if target.contains(FORBIDDEN) {
            out.write("\u{0}")?;
            return Ok(());
        }
        let number = given.param(0).and_then(|number| number.value().as_u64()).unwrap_or(0);
        let written = target.replace(' ', "%20");
        match scheme(&written) {
            Scheme::Web if number > 0 && self.is_link && self.scene.track.clicks => {
                out.write(&format!("{}L{number}{}{written}{}", marks::START, marks::TARGET, marks::START))?
            }
            Scheme::Web => out.write(&escaped(&written, self.scene.escape))?,
            Scheme::Other if self.is_link => out.write(&escaped(&written, self.scene.escape))?,
            _ if self.is_link => out.write("#")?,
            _ => {}
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Web,
    /// mailto, tel, a fragment
    Other,
    Refused,
}

/// What data may link to: http, https, mailto, tel and fragments.
fn scheme(address: &str) -> Scheme {
    let starts = |scheme: &str| address.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    if (starts("http://") || starts("https://")) && address.len() > "https://".len() {
        Scheme::Web
    } else if starts("mailto:") || starts("tel:") || address.starts_with('#') {
        Scheme::Other
    } else {
        Scheme::Refused
    }
}

/// `{{#$scope a=b}}…{{/$scope}}`: names for the inside of a partial.
struct ScopeFunction;

impl HelperDef for ScopeFunction {
    fn call<'reg: 'rc, 'rc>(
        &self,
        given: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        context: &'rc Context,
        rendering: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let mut block = BlockContext::new();
        if let Some(around) = rendering.block() {
            block.base_path_mut().clone_from(around.base_path());
            if let Some(value) = around.base_value() {
                block.set_base_value(value.clone());
            }
            block.local_variables_mut().clone_from(around.local_variables());
        }
        let mut parameters = BlockParams::new();
        for (name, value) in given.hash() {
            if !value.is_value_missing() {
                parameters.add_value(name, value.value().clone())?;
            }
        }
        block.set_block_params(parameters);
        rendering.push_block(block);
        let result = given.template().map_or(Ok(()), |template| template.render(registry, context, rendering, out));
        rendering.pop_block();
        result
    }
}

/// A value as it may stand in this context. Characters that must not be there become [`FORBIDDEN`].
pub(super) fn escaped(text: &str, escape: Escape) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            _ if is_forbidden(c, escape) => out.push(FORBIDDEN),
            '<' if escape == Escape::Html => out.push_str("&lt;"),
            '>' if escape == Escape::Html => out.push_str("&gt;"),
            '&' if escape == Escape::Html => out.push_str("&amp;"),
            '"' if escape == Escape::Html => out.push_str("&quot;"),
            '\'' if escape == Escape::Html => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

pub(super) fn is_forbidden(c: char, escape: Escape) -> bool {
    match c {
        '\n' | '\t' | '\r' => escape == Escape::Line,
        '\u{2028}' | '\u{2029}' => escape == Escape::Line,
        c => c.is_control(),
    }
}

fn default(given: Given<'_, '_>, _: &Scene<'_>) -> Answer {
    let is_there = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        _ => true,
    };
    Ok(given.params().iter().find(|param| !param.is_value_missing() && is_there(param.value())).map(|param| param.value().clone()))
}

fn join(given: Given<'_, '_>, _: &Scene<'_>) -> Answer {
    let between = if given.param(1).is_some() { text(given, 1)? } else { ", ".to_string() };
    Ok(Some(list(given, 0)?.iter().map(JsonRender::render).collect::<Vec<_>>().join(&between).into()))
}

fn money(given: Given<'_, '_>, scene: &Scene<'_>) -> Answer {
    let value = present_at(given, 0)?;
    let currency = option(given, "currency")?;
    let (amount, own) = match value {
        Value::Object(map) => (map.get("amount").map(JsonRender::render).unwrap_or_default(), map.get("currency").map(JsonRender::render)),
        other => {
            let written = other.render();
            match written.trim().split_once(char::is_whitespace) {
                Some((amount, currency)) => (amount.to_string(), Some(currency.trim().to_string())),
                None => (written, None),
            }
        }
    };
    let currency = own.or(currency).unwrap_or_else(|| scene.reader.currency.to_string());
    answer(format::money(&amount, &currency, decimals(given)?, scene.language, scene.is_sms), &amount)
}

fn plural(given: Given<'_, '_>, scene: &Scene<'_>) -> Answer {
    let written = text(given, 0)?;
    let Some(shown) = format::number(&written, None, scene.language, scene.is_sms) else {
        return Err(wrong(format!("`{written}` is no number")));
    };
    let category = format::plural(&written, scene.language);
    let form = [category, "other", "many", "few", "one"].iter().find_map(|form| given.hash_get(form));
    let Some(form) = form else { return Err(wrong("plural needs one=…, few=…, many=…, other=…".to_string())) };
    Ok(Some(present(form)?.render().replace('#', &shown).into()))
}

fn unique(given: Given<'_, '_>, _: &Scene<'_>) -> Answer {
    let field = if given.param(1).is_some() { Some(text(given, 1)?) } else { None };
    let mut seen: Vec<&Value> = Vec::new();
    let mut kept = Vec::new();
    for item in list(given, 0)? {
        let key = match &field {
            None => item,
            Some(field) => item.get(field).unwrap_or(&Value::Null),
        };
        if !seen.contains(&key) {
            seen.push(key);
            kept.push(item.clone());
        }
    }
    Ok(Some(Value::Array(kept)))
}

pub(super) fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

fn url_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn is_true(param: &PathAndJson<'_>) -> bool {
    !param.is_value_missing() && param.value().is_truthy(false)
}

/// Missing equals nothing; numbers equal by value, `20` and `"20"` too; everything else as it is written.
fn equal(given: Given<'_, '_>) -> bool {
    let (Some(a), Some(b)) = (given.param(0), given.param(1)) else { return false };
    if a.is_value_missing() || b.is_value_missing() {
        return false;
    }
    match (number(a.value()), number(b.value())) {
        (Some(a), Some(b)) => a == b,
        _ => a.value() == b.value() || a.value().render() == b.value().render(),
    }
}

/// Numbers by size, texts (and so ISO dates) by their characters; `None` when something is missing or of another kind.
fn order(given: Given<'_, '_>) -> Option<Ordering> {
    let (a, b) = (given.param(0)?, given.param(1)?);
    if a.is_value_missing() || b.is_value_missing() {
        return None;
    }
    match (number(a.value()), number(b.value())) {
        (Some(a), Some(b)) => a.partial_cmp(&b),
        (None, None) => Some(a.value().as_str()?.cmp(b.value().as_str()?)),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}

fn present<'a>(param: &'a PathAndJson<'_>) -> Result<&'a Value, RenderError> {
    if param.is_value_missing() { Err(RenderError::strict_error(param.relative_path())) } else { Ok(param.value()) }
}

fn present_at<'a>(given: &'a Helper<'_>, at: usize) -> Result<&'a Value, RenderError> {
    match given.param(at) {
        Some(param) => present(param),
        None => Err(wrong(format!("`{}` needs {} values", given.name(), at + 1))),
    }
}

fn text(given: Given<'_, '_>, at: usize) -> Result<String, RenderError> {
    present_at(given, at).map(JsonRender::render)
}

fn whole(given: Given<'_, '_>, at: usize) -> Result<i64, RenderError> {
    let value = present_at(given, at)?;
    number(value)
        .filter(|number| number.abs() < 1e15)
        .map(|number| number as i64)
        .ok_or_else(|| wrong(format!("`{}` is no number", value.render())))
}

fn list<'a>(given: &'a Helper<'_>, at: usize) -> Result<&'a [Value], RenderError> {
    match present_at(given, at)? {
        Value::Array(items) => Ok(items),
        other => Err(wrong(format!("`{}` is no list", other.render()))),
    }
}

fn option(given: Given<'_, '_>, name: &str) -> Result<Option<String>, RenderError> {
    given.hash_get(name).map(|value| present(value).map(JsonRender::render)).transpose()
}

fn decimals(given: Given<'_, '_>) -> Result<Option<usize>, RenderError> {
    match option(given, "decimals")? {
        None => Ok(None),
        Some(written) => match written.parse::<usize>() {
            Ok(decimals) if decimals <= 8 => Ok(Some(decimals)),
            _ => Err(wrong("decimals is a number from 0 to 8".to_string())),
        },
    }
}

fn answer(result: Option<String>, written: &str) -> Answer {
    match result {
        Some(text) => Ok(Some(text.into())),
        None => Err(wrong(format!("`{written}` cannot be formatted so"))),
    }
}

fn wrong(message: String) -> RenderError {
    stop(Stop::Wrong(message))
}

fn stop(stop: Stop) -> RenderError {
    RenderErrorReason::NestedError(Box::new(stop)).into()
}
