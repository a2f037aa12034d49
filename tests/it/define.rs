//! Stories about the files: what authors get wrong, what is not built yet, and that nothing they write makes the reader fall.

use posthaste::campaigns;
use posthaste::diagnostics::{Files, Problem, Problems, Severity};
use proptest::prelude::*;

const WORKSPACE: &str = r#"workspace: shop
public_url: https://go.shop.example
zone: Europe/Kyiv
country: UA
languages: [ uk, en ]
currency: UAH
attributes: { birthday: date, city: text, loyalty: { tier: text, points: number }, next_visit: datetime }
events:
  visit: { page: text }
  purchase: { order_id: text, amount: money, items: [ { sku: text, category: text } ] }
topics:
  offers: { title: "Offers", channels: [ email, sms ], from: news }
categories: [ retail ]
identities:
  news:
    postal_address: "1 Sadova St, Kyiv"
    email: { name: "Shop", address: news@mail.shop.example }
    sms: { sender: SHOP }
providers:
  relay:
    channel: email
    kind: smtp
    host: smtp.relay.example
    user: shop
    password: "${SMTP_PASSWORD}"
  texts: { channel: sms, kind: catcher, price: 0.85 UAH }
"#;

const SALE: &str = r#"campaign: sale
title: "Spring sale"
owner: olena@shop.example
category: retail
task: grow
class: advertising
topic: offers
goal: { event: purchase, value: amount, within: 7 days }
audience: { segment: buyers, holdout: 10% }
schedule: { every: day at 10:00 }
message:
  template: sale
  subject: { uk: "Весна вже тут", en: "Spring is here" }
  content: { discount: 20% }
  expires: 12 hours
variants:
  - { name: plain, weight: 50% }
  - { name: gift, weight: 50%, subject: "A gift for you" }
limits: { audience: 1000 }
tests:
  - name: a buyer who agreed gets it
    at: 2027-03-01 09:00
    run_for: 2 hours
    people: [ { external_id: ada, email: ada@example.org, language: en, consent: { offers: [ email ] } } ]
    events: [ { customer: ada, event: purchase, at: 2027-02-01 12:00, order_id: a1, amount: 300 UAH } ]
    arms: { ada: plain }
    expect: { messages: 1, to: { ada: { subject: "Spring is here", contains: [ "20%" ] } } }
"#;

const BUYERS: &str = "segment: buyers
title: \"Bought in the last year\"
where: { event: purchase, within: 1 year }
";

const LOYAL: &str = "segment: loyal
title: \"Gold and bought\"
where:
  all:
    - { attribute: loyalty.tier, is: gold }
    - { segment: buyers }
";

const TEMPLATE: &str = "<html><head><title>Sale</title></head><body>
<p>Hello, {{default first_name 'friend'}}: {{content.discount}} off</p>
<p><a href=\"https://shop.example/sale\">To the shop</a></p>
<p>{{identity.postal_address}} <a href=\"{{unsubscribe_url}}\">Unsubscribe</a></p>
</body></html>
";

const MAPPING: &str = "mapping: export
for: customers
columns: { \"E-mail\": email, \"Город\": city }
dates: \"DD.MM.YYYY\"
";

fn workspace() -> Files {
    let mut files = Files::default();
    files.insert("posthaste.yaml", WORKSPACE);
    files.insert("campaigns/sale.yaml", SALE);
    files.insert("campaigns/segments/buyers.yaml", BUYERS);
    files.insert("campaigns/segments/loyal.yaml", LOYAL);
    files.insert("templates/sale.hbs", TEMPLATE);
    files.insert("mappings/export.yaml", MAPPING);
    files
}

/// The workspace with one text replaced in one file.
fn with(file: &str, old: &str, new: &str) -> Files {
    let mut files = workspace();
    let text = files.text(file).unwrap().to_string();
    assert_eq!(text.matches(old).count(), 1, "`{old}` stands in {file} once");
    files.insert(file, text.replace(old, new));
    files
}

fn shown(files: &Files) -> (usize, String) {
    let (definitions, problems) = campaigns::read(files);
    assert_eq!(definitions.is_some(), problems.count() == 0);
    (problems.iter().count(), problems.render(files, false, 120).trim_end().to_string())
}

#[test]
fn a_workspace_without_mistakes_has_no_problems() {
    assert_eq!(shown(&workspace()), (0, String::new()));
    let (definitions, _) = campaigns::read(&workspace());
    let definitions = definitions.unwrap();
    let sale = &definitions.campaigns["sale"];
    assert_eq!(sale.messages().count(), 3);
    assert!(sale.reaches.contains("templates/sale.hbs") && sale.reaches.contains("campaigns/segments/buyers.yaml"));
    assert_eq!(definitions.mappings["export"].columns["Город"], "city");
}

/// The worst mistakes of authors: each is one message, on the right line.
#[test]
fn the_twelve_worst_mistakes_are_one_clear_message_each() {
    let copy = |name: &str, text: &str| {
        let mut files = workspace();
        files.insert(name, text);
        files
    };
    let circle = || {
        let mut files = with("campaigns/segments/buyers.yaml", "{ event: purchase, within: 1 year }", "{ segment: loyal }");
        files.insert("campaigns/segments/loyal.yaml", LOYAL);
        files
    };
    let cases = [
        ("wrong indentation", with("campaigns/sale.yaml", "  template: sale", "    template: sale")),
        ("unknown key", with("campaigns/sale.yaml", "audience: {", "audiense: {")),
        ("missing template", with("campaigns/sale.yaml", "template: sale", "template: sales")),
        ("unclosed tag", with("templates/sale.hbs", "{{content.discount}} off", "{{#if city}}{{content.discount}} off")),
        ("variable that no customer has", with("templates/sale.hbs", "default first_name", "default frist_name")),
        ("bad cron", with("campaigns/sale.yaml", "every: day at 10:00", "cron: \"0 25 * * *\"")),
        ("bad zone", with("campaigns/sale.yaml", "every: day at 10:00 }", "every: day at 10:00, zone: Kiev }")),
        ("wrong unit", with("campaigns/sale.yaml", "within: 7 days", "within: 7d")),
        ("segments in a circle", circle()),
        ("unsubscribe link missing", with("templates/sale.hbs", " <a href=\"{{unsubscribe_url}}\">Unsubscribe</a>", "")),
        ("duplicate campaign key", copy("campaigns/sale-copy.yaml", SALE)),
        ("secret in plain text", with("posthaste.yaml", "\"${SMTP_PASSWORD}\"", "hunter2")),
    ];
    let mut all = String::new();
    for (name, files) in cases {
        let (count, text) = shown(&files);
        all.push_str(&format!("== {name}\n\n{text}\n\n"));
        assert_eq!(count, 1, "{name}:\n{text}");
    }
    insta::assert_snapshot!(all);
}

/// More mistakes, by file, old text, new text, and a word of the one message.
#[test]
fn other_mistakes_are_one_message_each_as_well() {
    let sale = "campaigns/sale.yaml";
    let cases = [
        (sale, "class: advertising", "class: advertisement", "no class"),
        (sale, "topic: offers", "topic: ofers", "no topic"),
        (sale, "segment: buyers, holdout", "segment: buyer, holdout", "no segment"),
        (sale, ", holdout: 10%", "", "`holdout` is missing"),
        (sale, "goal: { event: purchase, value: amount, within: 7 days }\n", "", "`goal` is missing"),
        (sale, "event: purchase, value", "event: purchace, value", "no event"),
        (sale, "value: amount", "value: amuont", "amuont"),
        (sale, "holdout: 10%", "holdout: 10", "percent sign"),
        (sale, "holdout: 10%", "holdout: 10 %", "has a space"),
        (sale, "weight: 50% }", "weight: 40% }", "90%"),
        (sale, "name: gift", "name: plain", "two variants"),
        (sale, "en: \"Spring", "ru: \"Spring", "no language"),
        (sale, "every: day at 10:00", "at: 2027-03-01", "has no time"),
        (sale, "every: day at 10:00", "every: day at 10", "10"),
        (sale, "every: day at 10:00", "at: 2027-03-01 10:00, every: day at 10:00", "both"),
        (sale, "schedule: { every: day at 10:00 }", "schedule: { zone: Europe/Kyiv }", "no time"),
        (sale, "schedule: { every: day at 10:00 }", "schedule:", "no value"),
        (sale, "every: day at 10:00", "every: 6 hours, zone: recipient", "counts real time"),
        (sale, "every: day at 10:00", "at: 2027-03-01T10:00:00+02:00, zone: recipient", "one instant for all"),
        (sale, "every: day at 10:00", "every: day at 10:00, if_past: now", "all have one zone"),
        (sale, "every: day at 10:00", "every: day at 10:00, feb29: mar01", "belongs to `anniversary`"),
        (sale, "every: day at 10:00", "anniversary: city", "is no date"),
        (sale, "every: day at 10:00", "anniversary: birthday, before: 3 months", "counts days"),
        (sale, "every: day at 10:00", "date: birthday, feb29: mar01", "comes once"),
        (sale, "every: day at 10:00", "every: day at 10:00, windows: [ { hours: 9 to 18 } ]", "two digits"),
        (sale, "every: day at 10:00", "when: { event: visit, within: 3 days }", "one event as it happens"),
        (sale, "every: day at 10:00", "when: { segment: loyal }", "happen at a moment"),
        (sale, "every: day at 10:00", "when: { message: any, was: accepted }", "only responses"),
        (sale, "every: day at 10:00", "when: { event: visit }, overlap: queue", "one customer at a time"),
        (sale, "every: day at 10:00", "quartz: \"0 0 10 * * MON\"", "both day fields say something"),
        (sale, "every: day at 10:00", "every: day at 10:00, blackout: [ 2027-12-26 to 2027-12-24 ]", "2027-12-26 to 2027-12-24"),
        (sale, "every: day at 10:00", "every: day at 10:00, from: 2027-05-01, until: 2027-04-01", "ends before"),
        (sale, "limits: { audience: 1000 }", "limits: { cost: 5 UAX }", "UAX"),
        (sale, "limits: { audience: 1000 }", "winner: { by: clicks }", "not built yet"),
        (sale, "  content:", "  contnet:", "`contnet` is no key"),
        (sale, "content: { discount", "content: { discout", "not given"),
        (sale, "\"Spring is here\" }\n", "{{first_name}} hello }\n", ""),
        (sale, "owner: olena@shop.example", "owner: olena", "no email address"),
        (sale, "arms: { ada: plain }", "arms: { ada: plane }", "no arm"),
        (sale, "to: { ada:", "to: { eda:", "nobody"),
        (sale, "messages: 1,", "mesages: 1,", "no key"),
        (sale, "order_id: a1", "order: a1", "no property"),
        (sale, "consent: { offers", "consent: { ofers", "no topic"),
        (sale, "campaign: sale", "campaign: sail", "the file is called"),
        (sale, "  template: sale", "  template: sale\n  text: \"Hi\"", "not both"),
        ("posthaste.yaml", "zone: Europe/Kyiv", "zone: Europe/Kiyv", "Europe/Kyiv"),
        ("posthaste.yaml", "currency: UAH", "currency: UHA", "did you mean"),
        ("posthaste.yaml", "languages: [ uk, en ]", "languages: [ ua, en ]", "no language"),
        ("posthaste.yaml", "birthday: date", "birthday: dat", "no type"),
        ("posthaste.yaml", "city: text", "city: text, default: text", "template language"),
        ("posthaste.yaml", "visit: { page: text }", "visit: { customer: text }", "no property"),
        ("posthaste.yaml", "from: news", "from: nwes", "no identity"),
        ("posthaste.yaml", "    host: smtp.relay.example\n", "", "`host` is missing"),
        ("posthaste.yaml", "kind: smtp", "kind: folder", "not built yet"),
        ("posthaste.yaml", "public_url: https://go.shop.example", "public_url: go.shop.example", "no web address"),
        ("posthaste.yaml", "categories: [ retail ]", "categories: [ retail ]\ncoupons: { a: { valid: 3 days } }", "come from"),
        (
            "posthaste.yaml",
            "categories: [ retail ]",
            "categories: [ retail ]\ndomains: { new.example: { warm_up: { from: 2027-02-01 } } }",
            "how fast does the warm-up",
        ),
        (
            "posthaste.yaml",
            "categories: [ retail ]",
            "categories: [ retail ]\ndomains: { new.example: { warm_up: { from: 2027-02-30, plan: moderate } } }",
            "2027-02-30",
        ),
        (
            "posthaste.yaml",
            "categories: [ retail ]",
            "categories: [ retail ]\ndomains: { new.example: { warm_up: { from: 2027-02-01, days: [ 50, 0 ] } } }",
            "`0`",
        ),
        (
            "posthaste.yaml",
            "categories: [ retail ]",
            "categories: [ retail ]\ndomains: { new.example: { warm_up: { from: 2027-02-01, plan: moderate, beyond: nobody } } }",
            "nobody",
        ),
        (
            "posthaste.yaml",
            "categories: [ retail ]",
            "categories: [ retail ]\ndomains: { mail.shop.example: { warm_up: { from: 2027-02-01, plan: moderate, beyond: news } } }",
            "warmed up itself",
        ),
        ("posthaste.yaml", "categories: [ retail ]", "categories: [ retail ]\npolicy: { caps: [ { at_most: 1 } ] }", "no window"),
        (
            "posthaste.yaml",
            "categories: [ retail ]",
            "categories: [ retail ]\npolicy: { quiet_hours: [ { channel: sms, days: [ holidays ] } ] }",
            "no holidays",
        ),
        ("posthaste.yaml", "workspace: shop", "workspace: shop\ndatabase: \"postgres://me:secret@db/x\"", "plain text"),
        ("mappings/export.yaml", "for: customers", "for: customer", "did you mean"),
        ("mappings/export.yaml", "columns: {", "columns: { \"Mail\": e-mail,", "did you mean `email`"),
        ("mappings/export.yaml", "columns: {", "columns: { \"Town\": citty,", "did you mean `city`"),
        (sale, "title: \"Spring sale\"", "title: Spring #1 sale", "begins a comment"),
        (sale, "holdout: 10%", "holdout: 0.1", "write `10%`"),
        (sale, "expires: 12 hours", "expires: 2027-02-01 10:00", "expires before"),
        ("posthaste.yaml", "currency: UAH", "currency: hryvnia\nrates: { EUR: 48.20 UAH }", "no currency"),
        ("templates/sale.hbs", "https://", "htps://", "opens nothing"),
        (
            "campaigns/segments/buyers.yaml",
            "{ event: purchase, within: 1 year }",
            "[ { event: purchase, within: 1 year } ]",
            "`any: [ … ]` if one is enough",
        ),
        ("campaigns/segments/loyal.yaml", "loyalty.tier", "loyalty.teir", "teir"),
        ("campaigns/segments/buyers.yaml", "within: 1 year", "withn: 1 year", "withn"),
    ];
    let mut all = String::new();
    for (file, old, new, word) in cases {
        let mut files = with(file, old, new);
        if word == "expires before" {
            let once = files.text(file).unwrap().replace("every: day at 10:00", "at: 2027-03-01 10:00");
            files.insert(file, once);
        }
        let (count, text) = shown(&files);
        assert!(count == 1 && text.contains(word), "{file}: {old} → {new}: {count}\n{text}");
        all.push_str(&format!("{text}\n\n"));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn keys_that_lost_their_indentation_are_one_message() {
    let files = with("campaigns/sale.yaml", "  template: sale\n  subject:", "template: sale\nsubject:");
    let (count, text) = shown(&files);
    assert!(count <= 2, "{text}");
    let text = SALE
        .replace("  template:", "template:")
        .replace("  subject: {", "subject: {")
        .replace("  content:", "content:")
        .replace("  expires:", "expires:");
    let mut files = workspace();
    files.insert("campaigns/sale.yaml", text);
    let (count, text) = shown(&files);
    assert_eq!(count, 1, "{text}");
    assert!(text.contains("two spaces"), "{text}");
}

#[test]
fn all_problems_of_all_files_come_at_once() {
    let mut files = with("campaigns/sale.yaml", "owner: olena@shop.example", "owner: nobody");
    files.insert("campaigns/segments/buyers.yaml", BUYERS.replace("title", "titel"));
    files.insert("posthaste.yaml", WORKSPACE.replace("kind: smtp", "kind: smpt"));
    let (_, problems) = campaigns::read(&files);
    let of: Vec<&str> = problems.iter().map(|problem| problem.file.as_str()).collect();
    assert_eq!(of, ["campaigns/sale.yaml", "campaigns/segments/buyers.yaml", "posthaste.yaml"]);
}

#[test]
fn a_time_in_the_past_is_a_problem_when_it_is_applied() {
    let files = with("campaigns/sale.yaml", "every: day at 10:00", "at: 2027-03-01 10:00");
    let (definitions, problems) = campaigns::read(&files);
    assert_eq!(problems.count(), 0, "check does not ask the clock");
    let sale = &definitions.unwrap().campaigns["sale"];
    assert!(campaigns::in_the_past(&files, sale, "2027-03-01T07:59:59Z".parse().unwrap()).is_none());
    let problem = campaigns::in_the_past(&files, sale, "2027-03-01T08:00:00Z".parse().unwrap()).unwrap();
    assert_eq!(&SALE.replace("every: day at 10:00", "at: 2027-03-01 10:00")[problem.span.unwrap().start..][..10], "2027-03-01");
}

#[test]
fn people_of_a_test_may_stand_in_a_csv_file() {
    let mut files = with(
        "campaigns/sale.yaml",
        "people: [ { external_id: ada, email: ada@example.org, language: en, consent: { offers: [ email ] } } ]",
        "people: fixtures/people.csv",
    );
    files.insert(
        "campaigns/fixtures/people.csv",
        "external_id,email,consent.offers,suppressed\nada,ada@example.org,email sms,\nbo,bo@example.org,,sms\n",
    );
    let (definitions, problems) = campaigns::read(&files);
    assert_eq!(problems.render(&files, false, 120), "");
    let test = &definitions.unwrap().campaigns["sale"].tests[0];
    assert_eq!(test.people[0]["consent"]["offers"], serde_json::json!(["email", "sms"]));
    assert_eq!(test.people[1]["suppressed"], serde_json::json!(["sms"]));
    files.0.remove("campaigns/fixtures/people.csv");
    assert!(shown(&files).1.contains("there is no file campaigns/fixtures/people.csv"));
}

#[test]
fn the_committed_schemas_are_those_of_the_field_tables() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    for (name, text) in campaigns::schemas() {
        let committed = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(committed == text, "schema/{name} is old: run `cargo run -- schema` and commit it");
    }
}

/// The five complete files of the format's description: keys of later work are refused and say so, all else is accepted.
#[test]
fn in_the_complete_examples_only_keys_of_later_work_are_refused() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/files.md");
    let Ok(page) = std::fs::read_to_string(path) else {
        eprintln!("left out: {path} is not here");
        return;
    };
    let mut files = Files::default();
    for block in page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        let name = block.lines().next().and_then(|line| line.strip_prefix("# ")).filter(|name| name.ends_with(".yaml"));
        if let Some(name) = name {
            files.insert(name, block);
        }
    }
    assert_eq!(files.0.len(), 5);
    for segment in ["engaged-30-days", "open-complaint", "active-buyers"] {
        files.insert(
            format!("campaigns/segments/{segment}.yaml"),
            format!("segment: {segment}\ntitle: \"A segment\"\nwhere: {{ event: visit }}\n"),
        );
    }
    for template in ["weekly-news", "spring-sale", "abandoned-cart", "birthday"] {
        files.insert(format!("templates/{template}.hbs"), TEMPLATE.replace("{{content.discount}}", "much"));
    }
    let (_, problems) = campaigns::read(&files);
    // A warning refuses nothing.
    let refused = |problem: &&Problem| problem.severity == Severity::Problem && !problem.title.ends_with("is not built yet");
    let other: Problems = problems.iter().filter(refused).cloned().fold(Problems::default(), |mut all, problem| {
        all.push(problem);
        all
    });
    assert_eq!(other.render(&files, false, 120), "");
    let later: Vec<String> = problems
        .iter()
        .filter(|problem| problem.severity == Severity::Problem)
        .map(|problem| {
            let (line, column) = posthaste::diagnostics::place(files.text(&problem.file).unwrap(), problem.span.unwrap().start);
            format!("{}:{line}:{column} {}\n    {}", problem.file, problem.title, problem.help.join("\n    "))
        })
        .collect();
    insta::assert_snapshot!(later.join("\n"));
}

#[test]
fn a_thousand_files_are_no_quadratic_work() {
    let mut files = workspace();
    for number in 0..300 {
        files.insert(format!("campaigns/sale-{number}.yaml"), SALE.replace("campaign: sale", &format!("campaign: sale-{number}")));
        files.insert(format!("campaigns/segments/s-{number}.yaml"), BUYERS.replace("segment: buyers", &format!("segment: s-{number}")));
    }
    assert_eq!(shown(&files).0, 0);
}

/// One small change of a file: a part taken out, doubled, or replaced by something that means much in YAML.
fn changed(text: &str, kind: u8, at: usize, length: usize, what: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let at = at % (characters.len() + 1);
    let end = (at + length).min(characters.len());
    let (before, inside, after): (String, String, String) =
        (characters[..at].iter().collect(), characters[at..end].iter().collect(), characters[end..].iter().collect());
    match kind % 4 {
        0 => before + &after,
        1 => before + &inside + &inside + &after,
        2 => before + what + &after,
        _ => before + what + &inside + &after,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn no_change_of_a_file_makes_the_reader_fall(
        file in 0usize..6,
        changes in proptest::collection::vec((any::<u8>(), any::<usize>(), 0usize..40, prop_oneof![
            Just("{{".to_string()), Just("}".to_string()), Just(": ".to_string()), Just("\n".to_string()), Just("- ".to_string()), Just("[ ".to_string()),
            Just("\"".to_string()), Just("  ".to_string()), Just("\t".to_string()), Just("%".to_string()), Just("ї".to_string()), Just("99999999999999999999".to_string()),
            Just("null".to_string()), Just("at: ".to_string()), Just("segment: loyal".to_string()), "\\PC{0,6}",
        ]), 1..4),
    ) {
        let mut files = workspace();
        let path = files.0.keys().nth(file).unwrap().clone();
        let mut text = files.text(&path).unwrap().to_string();
        for (kind, at, length, what) in changes {
            text = changed(&text, kind, at, length, &what);
        }
        files.insert(path, text);
        let (definitions, problems) = campaigns::read(&files);
        prop_assert_eq!(definitions.is_some(), problems.count() == 0);
        problems.render(&files, false, 100);
        problems.to_json(&files);
    }
}

#[test]
fn words_that_are_taken_name_no_campaign_and_no_segment() {
    let mut files = workspace();
    files.insert("campaigns/any.yaml", SALE.replace("campaign: sale", "campaign: any"));
    files.insert("campaigns/segments/everyone.yaml", BUYERS.replace("segment: buyers", "segment: everyone"));
    let (count, text) = shown(&files);
    assert!(count == 2 && text.contains("called `any`") && text.contains("called `everyone`"), "{text}");
}

/// Bombs: what is small as written and endless as read.
#[test]
fn nothing_that_is_nested_without_end_makes_the_reader_fall() {
    let many = |text: &str, count: usize| text.repeat(count);
    let blocks = many("{{#if city}}", 5000) + "x" + &many("{{/if}}", 5000);
    let chain = format!("{{{{#if city}}}}x{}{{{{/if}}}}", many("{{else if city}}x", 5000));
    let brackets = format!("{{{{upper {}city{}}}}}", many("(upper ", 5000), many(")", 5000));
    let elements = many("<div>", 20_000) + "x" + &many("</div>", 20_000);
    for (name, added) in [("blocks", &blocks), ("a chain", &chain), ("brackets", &brackets), ("elements", &elements)] {
        let files = with("templates/sale.hbs", "<p>Hello", &format!("{added}<p>Hello"));
        let (count, text) = shown(&files);
        assert!(count >= 1 && text.contains("too deep"), "{name}: {}", text.chars().take(2000).collect::<String>());
        if name != "elements" {
            let files = with("campaigns/sale.yaml", "A gift for you", &added.replace('"', ""));
            assert!(shown(&files).0 >= 1, "{name} in a subject");
        }
    }
    let deep = format!("segment: buyers\ntitle: \"B\"\nwhere: {}", many("[", 100_000));
    for text in [deep, format!("segment: buyers\ntitle: \"B\"\nwhere: {}", many("{ not: ", 20_000))] {
        let mut files = workspace();
        files.insert("campaigns/segments/buyers.yaml", text);
        assert!(shown(&files).0 >= 1);
    }
}
