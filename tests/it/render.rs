//! Templates become messages: strict, escaped by context, marked, in the reader's language.

use posthaste::diagnostics::{Files, Problems, Severity};
use posthaste::literals::Words;
use posthaste::templates::{Body, Languages, Library, Links, MessageTemplate, Reader, RenderError, Rendered, Rows, Source, Track};
use posthaste::types::{Channel, Class};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const TRACKED: Track = Track { opens: true, clicks: true };

fn languages() -> Languages {
    Languages {
        all: ["uk", "en", "ru"].map(str::to_string).to_vec(),
        fallback: BTreeMap::from([("be".to_string(), "ru".to_string()), ("pl".to_string(), "en".to_string())]),
    }
}

fn files(list: &[(&str, &str)]) -> Files {
    let mut files = Files::default();
    list.iter().for_each(|(path, text)| files.insert(format!("templates/{path}"), *text));
    files
}

fn library(list: &[(&str, &str)]) -> Library {
    let files = files(list);
    let mut problems = Problems::default();
    let library = Library::read(&files, &languages(), &mut problems);
    assert_eq!(problems.count(), 0, "{}", problems.render(&files, false, 120));
    library
}

/// Problems as `file:line: title`.
fn problems(list: &[(&str, &str)]) -> Vec<String> {
    let files = files(list);
    let mut problems = Problems::default();
    Library::read(&files, &languages(), &mut problems);
    told(&problems, &files)
}

fn told(problems: &Problems, files: &Files) -> Vec<String> {
    problems
        .to_json(files)
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| {
            format!(
                "{}:{}:{}: {}",
                problem["file"].as_str().unwrap(),
                problem["line"],
                problem["column"],
                problem["message"].as_str().unwrap()
            )
        })
        .collect()
}

struct Shop;

impl Rows for Shop {
    fn row(&self, catalog: &str, key: &str) -> Option<Value> {
        (catalog == "products" && key == "L1").then(|| json!({ "title": "Lamp", "price": 300 }))
    }
}

fn reader(language: &str) -> Reader<'_> {
    Reader { language, zone: chrono_tz::Europe::Kyiv, currency: "UAH", now: "2027-03-01T08:00:00Z".parse().unwrap(), rows: Some(&Shop) }
}

fn compile(library: &Library, channel: Channel, name: &str, subject: &str, language: &str) -> MessageTemplate {
    let (subject, preheader) = (Words::of(subject), Words::default());
    let source = Source { channel, body: Body::Template(name), subject: &subject, preheader: &preheader };
    MessageTemplate::compile(library, &source, &languages().chain(Some(language)), TRACKED, &mut Links::new())
        .unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn text(body: &str, data: Value) -> Result<String, RenderError> {
    let library = library(&[
        ("a.txt.hbs", body),
        ("locales/uk.yaml", "hi: \"Вітаємо, {name}\""),
        ("locales/en.yaml", "hi: \"Welcome, {name}\""),
        ("locales/ru.yaml", "hi: \"Здравствуйте, {name}\""),
    ]);
    compile(&library, Channel::Email, "a", "", "en").render(&data, &reader("en")).map(|rendered| rendered.text)
}

fn sms(body: &str, data: Value) -> Result<String, RenderError> {
    let library = Library::default();
    let (words, none) = (Words::of(body), Words::default());
    let source = Source { channel: Channel::Sms, body: Body::Text(&words), subject: &none, preheader: &none };
    let template = MessageTemplate::compile(&library, &source, &languages().chain(Some("en")), Track::default(), &mut Links::new())
        .unwrap_or_else(|faults| panic!("{faults:?}"));
    template.render(&data, &reader("en")).map(|rendered| rendered.text)
}

#[test]
fn every_helper_says_what_the_manual_promises() {
    let data = || {
        json!({ "first_name": "олена", "interests": ["shoes", "lamps"], "empty": "", "n": 5, "price": 1299.5, "nothing": null,
                "coupon_until": "2027-03-07", "seen": [{ "sku": "L1" }, { "sku": "L1" }, { "sku": "X" }], "tags": [] })
    };
    for (body, expected) in [
        ("{{default last_name 'friend'}} {{default empty 'x'}} {{default nothing 'y'}} {{default first_name 'z'}}", "friend x y олена"),
        ("{{default (upper last_name) 'friend'}} {{#if (gt (days_until nothing) 3)}}a{{else}}b{{/if}}", "friend b"),
        ("{{upper first_name}} {{capitalize first_name}} {{lower 'ABC'}}", "ОЛЕНА Олена abc"),
        ("{{join interests ', '}} {{len interests}} {{len missing}}", "shoes, lamps 2 0"),
        ("{{format_date coupon_until style='long'}} {{days_until coupon_until}}", "March 7, 2027 6"),
        ("{{format_money price}} {{format_money '20 USD'}} {{format_number price decimals=0}}", "₴1,299.50 $20 1,300"),
        ("{{plural n one='# day' other='# days'}}", "5 days"),
        (
            "{{#each (take (unique seen 'sku') 3)}}{{#with (find 'products' sku)}}{{title}} {{format_money price}}{{else}}none{{/with}};{{/each}}",
            "Lamp ₴300;none;",
        ),
        ("{{#each (range 3)}}{{this}}{{/each}}{{#each (range 2 4)}}{{this}}{{/each}}", "123234"),
        ("{{url_encode 'a b&c'}}", "a%20b%26c"),
        ("{{vocative first_name}}", "олена"),
        ("{{t 'hi' name=first_name}}", "Welcome, олена"),
        ("{{#if (and first_name (gt n 4) (not last_name))}}yes{{/if}}{{#if (or last_name (eq n 5))}}!{{/if}}", "yes!"),
        ("{{#if (eq last_name 'x')}}a{{else if (ne n 5)}}b{{else if (lte n 5)}}c{{/if}}", "c"),
        ("{{#unless in_stock}}none{{/unless}}{{#each tags}}x{{else}}-{{/each}}", "none-"),
        ("{{lookup interests 1}} {{#each interests}}{{@index}}{{#if @last}}.{{/if}}{{/each}}", "lamps 01."),
        (
            "{{#each seen as |row|}}{{row.sku}}{{/each}} {{#with (find 'products' 'L1') as |lamp|}}{{lamp.title}}{{@root.n}}{{/with}}",
            "L1L1X Lamp5",
        ),
    ] {
        assert_eq!(text(body, data()).as_deref(), Ok(expected), "{body}");
    }
}

#[test]
fn a_missing_value_a_refusal_and_a_control_character_leave_only_that_person_out() {
    let missing = |variable: &str| Err(RenderError::Missing { variable: variable.to_string() });
    assert_eq!(text("{{first_name}}", json!({})), missing("first_name"));
    assert_eq!(text("{{first_name}}", json!({ "first_name": null })), missing("first_name"));
    assert_eq!(text("{{upper first_name}}", json!({})), missing("first_name"));
    assert_eq!(text("{{plural (days_until next.due) one='#'}}", json!({})), missing("next.due"));
    assert_eq!(text("{{#each event.items}}{{title}}{{/each}}", json!({ "event": { "items": [{}] } })), missing("event.items[].title"));
    assert_eq!(text("{{#each event.items}}x{{/each}}", json!({ "event": {} })), missing("event.items"));
    assert_eq!(
        text("{{#unless in_stock}}{{refuse 'out of stock'}}{{/unless}}", json!({})),
        Err(RenderError::Refused { reason: "out of stock".into() })
    );
    assert_eq!(
        text("{{a}}", json!({ "a": "x\ny\tz", "b": "\u{1}" })).as_deref(),
        Ok("x\ny\tz"),
        "lines may stand in a body, and what is not read does not matter"
    );
    for bad in ["\u{0}", "\u{1}L1\u{1}", "\u{1b}[31m", "\u{7f}"] {
        assert_eq!(text("{{a}}", json!({ "a": bad })), Err(RenderError::Unsafe { variable: "a".into() }));
        assert_eq!(text("{{{a}}}", json!({ "a": bad })), Err(RenderError::Unsafe { variable: "a".into() }));
    }
    for bad in ["x\ny", "x\r\nBcc: all@example.org", "\u{2028}", "\u{2029}"] {
        assert_eq!(sms("Hi {{event.a}}", json!({ "event": { "a": bad } })), Err(RenderError::Unsafe { variable: "event.a".into() }));
        let library = library(&[("a.txt.hbs", "x")]);
        let found = compile(&library, Channel::Email, "a", "Hi {{a}}", "en").render(&json!({ "a": bad }), &reader("en"));
        assert_eq!(found, Err(RenderError::Unsafe { variable: "a".into() }));
    }
    assert_eq!(sms("line one\nline two {{a}}", json!({ "a": 1 })).as_deref(), Ok("line one\nline two 1"), "a template may have lines");
}

#[test]
fn what_customers_wrote_is_never_evaluated_and_always_escaped() {
    let library = library(&[(
        "a.hbs",
        "<p title=\"{{first_name}}\">{{first_name}}</p><a href=\"{{url}}\">x</a><img src=\"{{url}}\" alt=\"\"><a href=\"https://shop.example/?q={{url_encode first_name}}\">y</a>",
    )]);
    let template = compile(&library, Channel::Email, "a", "{{first_name}}", "en");
    let data = json!({ "first_name": "<script>\"{{secret}}'</script>", "url": "javascript:alert(1)", "secret": "S" });
    let found = template.render(&data, &reader("en")).unwrap();
    assert_eq!(
        found.html.as_deref(),
        Some(
            "<p title=\"&lt;script&gt;&quot;{{secret}}&#39;&lt;/script&gt;\">&lt;script&gt;&quot;{{secret}}&#39;&lt;/script&gt;</p><a href=\"#\">x</a><img src=\"\" alt=\"\"><a href=\"\u{1}L2\u{2}https://shop.example/?q=%3Cscript%3E%22%7B%7Bsecret%7D%7D%27%3C%2Fscript%3E\u{1}\">y</a>\u{1}P\u{1}"
        )
    );
    assert_eq!(found.subject, "<script>\"{{secret}}'</script>");
    for bad in ["data:text/html,x", " JavaScript:x", "vbscript:x", "//evil.example", "/path", "file:///etc/passwd"] {
        let found = template.render(&json!({ "first_name": "x", "url": bad }), &reader("en")).unwrap();
        assert!(found.html.unwrap().contains("<a href=\"#\">x</a>"), "{bad}");
    }
    for good in ["mailto:a@b.example", "tel:+380441234567", "#top"] {
        let found = template.render(&json!({ "first_name": "x", "url": good }), &reader("en")).unwrap();
        assert!(found.html.unwrap().contains(&format!("<a href=\"{good}\">")), "{good}");
    }
}

#[test]
fn loops_and_sizes_are_bounded() {
    let found = text("{{#each (range 1000)}}{{#each (range 1000)}}{{#each (range 1000)}}{{/each}}{{/each}}{{/each}}", json!({}));
    assert!(matches!(found, Err(RenderError::Failed { .. })), "{found:?}");
    let found = text("{{#each (range 1000)}}{{@root.a}}{{/each}}", json!({ "a": "x".repeat(10_000) }));
    assert!(matches!(found, Err(RenderError::TooLarge { .. })), "{found:?}");
    assert!(matches!(text("{{#each (range 1000000)}}{{/each}}", json!({})), Err(RenderError::Failed { .. })));
}

#[test]
fn people_read_their_own_language_then_its_fallback_then_the_first() {
    let library = library(&[("a.uk.hbs", "uk"), ("a.ru.hbs", "ru"), ("b.hbs", "all"), ("b.uk.hbs", "uk")]);
    for (name, language, expected) in
        [("a", "uk", "uk"), ("a", "be", "ru"), ("a", "pl", "uk"), ("a", "en", "uk"), ("b", "uk", "uk"), ("b", "pl", "all")]
    {
        let template = compile(&library, Channel::Email, name, "", language);
        let Rendered { html, .. } = template.render(&json!({}), &reader(language)).unwrap();
        assert_eq!(html.unwrap(), format!("{expected}\u{1}P\u{1}"), "{name} for {language}");
    }
}

#[test]
fn links_are_numbered_over_all_messages_of_a_version() {
    let library = library(&[
        ("a.hbs", "<a href='https://a.example'>a</a><a href='https://b.example/{{x}}'>b</a>"),
        ("c.hbs", "<a href='https://c.example'>c</a><a href='https://a.example'>a</a>"),
    ]);
    let none = Words::default();
    let mut links = Links::new();
    for name in ["a", "c"] {
        let source = Source { channel: Channel::Email, body: Body::Template(name), subject: &none, preheader: &none };
        MessageTemplate::compile(&library, &source, &[], TRACKED, &mut links).unwrap();
    }
    let targets: Vec<_> = links.iter().map(|link| (link.number, link.target.as_str(), link.literal)).collect();
    assert_eq!(targets, [(1, "https://a.example", true), (2, "https://b.example/{{x}}", false), (3, "https://c.example", true)]);
}

#[test]
fn problems_of_templates_come_with_their_places() {
    assert_eq!(
        problems(&[
            ("a.hbs", "<p>\n{{uper name}}</p>"),
            ("b.hbs", "{{#if x}}\n{{/each}}"),
            ("c.hbs", "x {{> foter}}"),
            ("d.hbs", "{{survey_url 'nps'}}"),
            ("e.de.hbs", "x"),
            ("f.hbs", "{{> one}}"),
            ("partials/footer.hbs", "x"),
            ("partials/one.hbs", "{{> two}}"),
            ("partials/two.hbs", "{{> one}}"),
        ]),
        [
            "templates/b.hbs:1:1: `{{#if}}` is not closed",
            "templates/a.hbs:2:3: there is no helper `uper`",
            "templates/c.hbs:1:7: there is no partial `foter`",
            "templates/d.hbs:1:3: `survey_url` is not built yet",
            "templates/e.de.hbs:null:null: `de` is no language of this workspace",
            "templates/partials/two.hbs:1:5: these partials include each other without end",
        ]
    );
    let _ = Class::Advertising;
}

#[test]
fn an_advertising_letter_must_always_say_how_to_leave_and_who_writes() {
    let lint = |html: &str, class: Class| {
        let library = library(&[("a.hbs", html)]);
        let faults = compile(&library, Channel::Email, "a", "Subject", "en").lint(class);
        faults.iter().map(|fault| format!("{:?}: {}", fault.problem.severity, fault.problem.title)).collect::<Vec<_>>()
    };
    let whole = "<p>{{identity.postal_address}} <a href='{{unsubscribe_url}}'>Unsubscribe</a></p>";
    assert!(lint(whole, Class::Advertising).is_empty());
    assert!(lint("<p>x</p>", Class::Transactional).is_empty());
    assert_eq!(lint("<p>x</p>", Class::Informational).len(), 4);
    assert!(lint("<p>x</p>", Class::Informational).iter().all(|problem| problem.starts_with("Warning")));
    assert_eq!(
        lint(&format!("{{{{#if first_name}}}}{whole}{{{{/if}}}}"), Class::Advertising),
        [
            "Problem: the HTML part does not always have a link to unsubscribe",
            "Problem: the HTML part does not always have the sender's postal address",
            "Problem: the text part does not always have a link to unsubscribe",
            "Problem: the text part does not always have the sender's postal address",
        ]
    );
}

#[test]
fn the_command_line_renders_a_template_and_names_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("posthaste.yaml", "workspace: w\nzone: Europe/Kyiv\nlanguages: [ uk, en ]\ncurrency: UAH\n");
    write("templates/hi.en.txt.hbs", "Hi {{first_name}},\nsee you — {{format_date day style='day'}}\n");
    write("data.json", "{\"first_name\": \"Ada\", \"day\": \"2027-03-07\"}");
    write("empty.json", "{}");
    let render = |data: &str, format: &str| {
        let mut command = assert_cmd::Command::cargo_bin("posthaste").unwrap();
        let data = folder.path().join(data);
        command.arg("--workspace").arg(folder.path()).args(["render", "hi", "--language", "en", "--format", format, "--data"]).arg(data);
        command.output().unwrap()
    };
    let found = render("data.json", "table");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "Hi Ada,\nsee you — March 7\n");
    assert_eq!(String::from_utf8_lossy(&found.stderr), "as a text message: 25 of UCS-2 because of `—`, parts: 1\n");
    let found: Value = serde_json::from_slice(&render("data.json", "json").stdout).unwrap();
    assert_eq!((&found["sms"]["parts"], &found["language"], &found["html"]), (&json!(1), &json!("en"), &Value::Null));
    let found = render("empty.json", "table");
    assert_eq!(found.status.code(), Some(1));
    let said = String::from_utf8_lossy(&found.stderr).into_owned();
    assert!(said.contains("`first_name` is missing") && said.contains("templates/hi.en.txt.hbs:1:6"), "{said}");
}

/// The sample templates, if they are on this machine.
fn samples(folder: &str, ending: &str) -> Vec<(String, String)> {
    let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/templates")).join(folder);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                found.push((name, std::fs::read_to_string(&path).unwrap_or_default()));
            }
        }
    }
    if found.is_empty() {
        eprintln!("no sample templates in ../shared/data/templates/{folder}: left out");
    }
    found.sort();
    found
}

#[test]
fn every_mjml_sample_becomes_html_with_all_its_links_and_images() {
    let all = samples("mjml", ".mjml");
    let expected = samples("", "mjml_expected.csv").pop().map(|(_, text)| text).unwrap_or_default();
    let files = files(&all.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect::<Vec<_>>());
    let mut problems = Problems::default();
    let library = Library::read(&files, &languages(), &mut problems);
    for row in expected.lines().skip(1) {
        let columns: Vec<&str> = row.split(',').collect();
        let [file, _, bytes, errors, links, images, characters] = columns[..] else { panic!("{row}") };
        let count = |column: &str| column.parse::<usize>().unwrap();
        // `href="#"` and unknown addresses are warnings; what MJML itself finds nothing wrong with is no problem here either.
        let own = problems.iter().filter(|problem| problem.file == format!("templates/{file}") && problem.severity == Severity::Problem);
        assert_eq!(own.count(), count(errors), "{file}: {:?}", told(&problems, &files));
        let none = Words::default();
        let source =
            Source { channel: Channel::Email, body: Body::Template(file.trim_end_matches(".mjml")), subject: &none, preheader: &none };
        let template = MessageTemplate::compile(&library, &source, &[], Track::default(), &mut Links::new()).unwrap();
        let data: serde_json::Map<String, Value> = template.needs().iter().map(|need| (need.path.clone(), json!("x"))).collect();
        let found = template.render(&Value::Object(data), &reader("en")).unwrap();
        assert_eq!(found.lint().len(), usize::from(file.starts_with("over_limit")), "{file} has {} bytes", found.size());
        let html = found.html.unwrap();
        assert_eq!(html.matches("<a ").count(), count(links), "links of {file}");
        assert_eq!(html.matches("<img ").count(), count(images), "images of {file}");
        assert!(html.contains("<!--[if mso"), "conditional comments of {file}");
        assert!((count(bytes) * 7 / 10..count(bytes) * 11 / 10).contains(&html.len()), "{file}: {} for {bytes} bytes", html.len());
        // html-to-text writes addresses of links that lead nowhere, and some words of images.
        let read = found.text.chars().count();
        assert!(
            (count(characters) / 2..count(characters) * 12 / 10 + 200).contains(&read),
            "{file}: {read} for {characters} characters of text"
        );
    }
}

/// The templates of this repository, which are the manual's examples.
fn own_files() -> Files {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Files::default();
    let mut folders = vec![root.join("templates")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let inside = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
                files.insert(inside, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

#[test]
fn every_letter_of_this_repository_renders_in_each_language_and_lints_clean() {
    let files = own_files();
    let mut problems = Problems::default();
    let library = Library::read(&files, &languages(), &mut problems);
    assert!(problems.is_empty(), "{}", problems.render(&files, false, 120));
    let data = json!({
        "first_name": "Олена", "next_visit": "2027-03-02T11:30:00+02:00",
        "content": { "discount": "20%", "ends": "7 березня", "number": 12, "from": "15 березня", "hours": "09:00–21:00",
                     "articles": [{ "title": "Лампи", "url": "https://shop.example/lamps" }, { "title": "Стільці", "url": "https://shop.example/chairs", "text": "Нові" }] },
        "unsubscribe_url": "https://go.shop.example/u/x", "preferences_url": "https://go.shop.example/p/x",
        "identity": { "postal_address": "Крамниця, вул. Садова 1, 01001 Київ" }
    });
    for name in ["spring-sale", "birthday", "weekly-news", "service-notice"] {
        for language in ["uk", "en", "ru"] {
            let template = compile(&library, Channel::Email, name, "Subject", language);
            assert_eq!(template.lint(Class::Advertising), [], "{name}.{language}");
            let found = template.render(&data, &reader(language)).unwrap_or_else(|error| panic!("{name}.{language}: {error}"));
            assert_eq!(found.lint(), []);
            let html = found.html.unwrap();
            assert_eq!(html.matches("\u{1}P\u{1}").count(), 1);
            assert_eq!(html.matches("https://go.shop.example/u/x").count(), 1, "one link to unsubscribe");
            assert!(html.contains(&format!("<html lang=\"{language}\"")) && html.contains("prefers-color-scheme"), "{name}.{language}");
            assert!(found.text.contains("https://go.shop.example/u/x") && found.text.contains("Садова 1"));
            if language == "uk" {
                insta::assert_snapshot!(format!("letter_{name}"), found.text.replace('\u{1}', "¹").replace('\u{2}', "²"));
            }
        }
    }
    for language in ["uk", "en", "ru"] {
        let found = compile(&library, Channel::Sms, "visit-reminder", "", language).render(&data, &reader(language)).unwrap();
        let latin = found.text.replace("Олена", "Olena");
        assert_eq!(posthaste::templates::sms::parts(&latin).parts, 1, "{latin}");
    }
}

/// Replaces partial HTML templates' own tag names, `{{ x }}`, by data of the same names.
fn filled(template: &MessageTemplate) -> Value {
    let mut data = serde_json::Map::new();
    for need in template.needs() {
        let mut at = &mut data;
        let parts: Vec<&str> = need.path.split('.').collect();
        for (index, part) in parts.iter().enumerate() {
            let name = part.trim_end_matches("[]");
            let is_list = part.ends_with("[]");
            let is_last = index + 1 == parts.len();
            let next = at.entry(name).or_insert_with(|| {
                if is_list {
                    json!([{}])
                } else if is_last {
                    json!("value")
                } else {
                    json!({})
                }
            });
            if is_last {
                break;
            }
            if is_list && !next.is_array() {
                *next = json!([{}]);
            }
            let inside = if is_list { &mut next[0] } else { next };
            if !inside.is_object() {
                *inside = json!({});
            }
            at = inside.as_object_mut().unwrap();
        }
    }
    Value::Object(data)
}

#[test]
fn every_html_sample_is_inlined_linted_and_rendered() {
    let all = samples("html", ".html");
    let expected = samples("", "html_expected.csv").pop().map(|(_, text)| text).unwrap_or_default();
    let mut rendered = 0;
    for row in expected.lines().skip(1) {
        let columns: Vec<&str> = row.split(',').collect();
        let (file, links, images) = (columns[0].trim_start_matches("html/"), columns[2], columns[3]);
        let Some((_, text)) = all.iter().find(|(name, _)| name == file) else { panic!("{file} is not there") };
        let files = files(&[("a.hbs", text)]);
        let mut problems = Problems::default();
        let library = Library::read(&files, &languages(), &mut problems);
        // Forms and the like are told; what has none is rendered.
        if problems.count() > 0 {
            assert!(
                told(&problems, &files).iter().all(|problem| !problem.contains("cannot be read")),
                "{file}: {:?}",
                told(&problems, &files)
            );
            continue;
        }
        let template = compile(&library, Channel::Email, "a", "x", "en");
        let found = template.render(&filled(&template), &reader("en")).unwrap_or_else(|error| panic!("{file}: {error}"));
        let html = found.html.unwrap();
        assert_eq!(html.matches("<a ").count().to_string(), links, "links of {file}");
        assert_eq!(html.matches("<img ").count().to_string(), images, "images of {file}");
        assert!(found.text.lines().count() > 3 && !found.text.contains("<td") && !found.text.contains("{{#"), "{file}: {}", found.text);
        rendered += 1;
    }
    assert!(all.is_empty() || rendered > 20, "{rendered} of {}", all.len());
}

#[test]
fn the_handlebars_samples_say_what_handlebars_js_says() {
    let all = samples("handlebars", "");
    let text = |name: &str| all.iter().find(|(file, _)| file == name).map(|(_, text)| text.clone());
    for name in ["receipt"] {
        let (Some(template), Some(data), Some(expected)) =
            (text(&format!("{name}.html")), text(&format!("{name}_data.json")), text(&format!("{name}_data.rendered.html")))
        else {
            continue;
        };
        // As a text part nothing is inlined, so that the result can be compared byte for byte.
        let files = files(&[("a.txt.hbs", template.as_str())]);
        let mut problems = Problems::default();
        let library = Library::read(&files, &languages(), &mut problems);
        assert_eq!(problems.count(), 0, "{:?}", told(&problems, &files));
        let none = Words::default();
        let source = Source { channel: Channel::Call, body: Body::Template("a"), subject: &none, preheader: &none };
        let template = MessageTemplate::compile(&library, &source, &[], Track::default(), &mut Links::new()).unwrap();
        let found = template.render(&serde_json::from_str(&data).unwrap(), &reader("en")).unwrap();
        assert_eq!(found.text.trim(), expected.trim());
    }
}

#[test]
fn a_template_renders_fast_enough_for_the_wire() {
    // No time is asserted: the figure is printed for who runs with --nocapture.
    let files = own_files();
    let library = Library::read(&files, &languages(), &mut Problems::default());
    let template = compile(&library, Channel::Email, "spring-sale", "{{default first_name 'Hello'}}, spring is here", "en");
    let data = json!({
        "first_name": "Ada", "content": { "discount": "20%", "ends": "7 March" }, "unsubscribe_url": "https://go.shop.example/u/x",
        "preferences_url": "https://go.shop.example/p/x", "identity": { "postal_address": "Kyiv" }
    });
    let start = std::time::Instant::now();
    let rounds: u32 = 2_000;
    for _ in 0..rounds {
        assert!(template.render(&data, &reader("en")).is_ok());
    }
    println!("one letter of {} bytes renders in {:?}", template.render(&data, &reader("en")).unwrap().size(), start.elapsed() / rounds);
}

mod mutations {
    use super::*;
    use proptest::prelude::*;

    const PIECES: &[&str] = &[
        "{{",
        "}}",
        "{{{",
        "}}}",
        "{{#if x}}",
        "{{/if}}",
        "{{#each a}}",
        "{{/each}}",
        "{{else}}",
        "{{> footer}}",
        "{{> @partial-block}}",
        "{{#> layouts/base}}",
        "{{/layouts/base}}",
        "<a href=\"",
        "\">",
        "</a>",
        "<table>",
        "<tr>",
        "<td>",
        "</table>",
        "<!--",
        "-->",
        "<style>",
        "</style>",
        "<mj-text>",
        "</mj-text>",
        "<mj-section>",
        "'",
        "\"",
        "\\{{",
        "&amp;",
        "\u{1}",
        "ї",
        "<",
        ">",
        "=",
        "{{!--",
        "--}}",
        "@media{",
        "{{x",
        "{{format_money x}}",
        "{{#with (find 'products' x)}}",
        "{{/with}}",
        "<mj-include path=\"partials/footer.hbs\"/>",
        "\r\n",
        " style=\";;\"",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
        #[test]
        fn a_mutated_template_is_a_problem_or_a_message_and_never_a_panic(
            edits in proptest::collection::vec((0.0f64..1.0, 0usize..PIECES.len(), 0usize..30), 1..6), which in 0usize..3
        ) {
            let mut files = own_files();
            let (path, name) = [
                ("templates/weekly-news.en.mjml", "weekly-news"), ("templates/layouts/base.mjml", "spring-sale"), ("templates/partials/footer.hbs", "birthday"),
            ][which];
            let mut text: Vec<char> = files.text(path).unwrap().chars().collect();
            for (place, piece, cut) in edits {
                let at = (place * text.len() as f64) as usize;
                let end = (at + cut).min(text.len());
                text.splice(at..end, PIECES[piece].chars());
            }
            files.insert(path, text.into_iter().collect::<String>());
            let mut problems = Problems::default();
            let library = Library::read(&files, &languages(), &mut problems);
            problems.render(&files, false, 100);
            let (subject, preheader) = (Words::of("{{x}}"), Words::of("p"));
            let source = Source { channel: Channel::Email, body: Body::Template(name), subject: &subject, preheader: &preheader };
            if let Ok(template) = MessageTemplate::compile(&library, &source, &["en".to_string()], TRACKED, &mut Links::new()) {
                let _ = template.render(&filled(&template), &reader("en"));
                let _ = template.lint(Class::Advertising);
            }
        }
    }
}
