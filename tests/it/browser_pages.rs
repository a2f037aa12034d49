//! The pages of people as people meet them: a real shop's letters lead into a real Chromium, wide and narrow, light and dark, in English and
//! Ukrainian, by keyboard alone, with scripts and without, under the eyes of axe-core.

use crate::browser::{DOWN, Driver, ENTER, Page, SPACE, TAB};
use crate::processes::{command, free_port, posthaste};
use posthaste::catcher::Catcher;
use posthaste::clock::Clock;
use serde_json::json;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const NOW: &str = "2027-03-01T10:00:30Z";

/// A shop whose letters were sent, and whose server answers.
struct Shop {
    folder: tempfile::TempDir,
    server: Child,
    letters: Vec<(String, String)>,
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

const DATABASE: &str = "sqlite:pages.db";

impl Shop {
    async fn open() -> Shop {
        let folder = tempfile::tempdir().unwrap();
        let catcher = Catcher::anywhere(Clock::real()).await.unwrap();
        let port = free_port();
        write(folder.path(), port, catcher.smtp().port());
        let run = |arguments: &[&str]| posthaste(folder.path(), DATABASE, &[arguments, &["--now", "2027-03-01T09:59:50Z"]].concat());
        run(&["import", "customers", "customers.csv"]);
        run(&["apply", "--yes"]);
        posthaste(folder.path(), DATABASE, &["run", "--until-idle", "--now", NOW]);
        let letters = catcher.messages().iter().map(|message| (message.to.clone(), message.letter().html.unwrap_or_default())).collect();
        let listen = format!("127.0.0.1:{port}");
        let mut server = command(folder.path(), DATABASE, &["run", "--listen", &listen, "--now", NOW]);
        let server = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(&listen).is_err() {
            assert!(Instant::now() < deadline, "the server does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Shop { folder, server, letters }
    }

    /// The address behind the link with these words in the letter of a person.
    fn link(&self, to: &str, words: &str) -> String {
        let end = format!("\">{words}</a>");
        let letters = self.letters.iter().filter(|(whom, _)| whom == to);
        let found = letters.filter_map(|(_, html)| html.split(&end).next().filter(|before| before.len() < html.len())).next();
        let found = found.unwrap_or_else(|| panic!("no link `{words}` came to {to}: {:?}", self.letters));
        found.rsplit("href=\"").next().unwrap().replace("&amp;", "&").replace("&#x3D;", "=")
    }

    /// State of consent by topic and channel, as the command tells it.
    fn consents(&self, customer: &str) -> String {
        posthaste(self.folder.path(), DATABASE, &["customers", "show", customer]).stdout
    }
}

fn write(workspace: &Path, port: u16, smtp: u16) {
    let put = |path: &str, text: &str| crate::shop::put(workspace, path, text);
    put(".env", "POSTHASTE_PEPPER=pepper-for-tests-only\nPOSTHASTE_SIGNING=k1:signing-key-for-tests-only\n");
    put(
        "posthaste.yaml",
        &format!(
            r#"workspace: lamps
public_url: http://127.0.0.1:{port}
zone: Europe/Kyiv
country: UA
languages: [ en, uk, pl ]
currency: UAH
categories: [ retail ]
topics:
  news: {{ title: {{ en: "Monthly letter about light", uk: "Щомісячний лист про світло" }}, channels: [ email ], from: shop, confirm: true }}
  offers: {{ title: {{ en: "Offers and sales", uk: "Знижки й розпродажі" }}, channels: [ email, sms ], from: shop }}
  workshops: {{ title: "Workshops in the shop in Garden Street", channels: [ email, sms ], from: shop }}
identities:
  shop:
    postal_address: {{ en: "Lamps and Light Ltd, 1 Garden Street, Kyiv 01001", uk: "ТОВ «Лампи і світло», вул. Садова 1, Київ 01001" }}
    email: {{ name: {{ en: "Lamps & Light", uk: "Лампи і світло" }}, address: hello@mail.lamps.example }}
    sms: {{ sender: LAMPS }}
providers: {{ sink: {{ channel: email, kind: smtp, host: 127.0.0.1, port: {smtp}, security: none }} }}
"#
        ),
    );
    put(
        "campaigns/letter.yaml",
        "campaign: letter\ntitle: \"A letter\"\nowner: ada@lamps.example\nclass: advertising\ntopic: offers\ntask: grow\ncategory: retail\n\
         goal: { event: purchase, within: 7 days }\naudience: { segment: everyone, holdout: 0% }\nschedule: { at: 2027-03-01 12:00 }\n\
         message: { template: letter, subject: \"For you\" }\n",
    );
    put(
        "campaigns/welcome.yaml",
        "campaign: welcome\ntitle: \"Please confirm\"\nowner: ada@lamps.example\nclass: transactional\ntopic: news\n\
         audience: { where: { consent: news, is: pending } }\nschedule: { at: 2027-03-01 12:00 }\n\
         message: { from: shop, template: welcome, subject: \"Please confirm\" }\n",
    );
    let page = |body: &str| {
        format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Lamps</title></head><body><h1>Hello</h1>{body}</body></html>"
        )
    };
    put(
        "templates/letter.hbs",
        &page(
            "<p>{{identity.postal_address}} · <a href=\"{{unsubscribe_url}}\">Unsubscribe</a> · <a href=\"{{preferences_url}}\">Choose</a></p>",
        ),
    );
    put("templates/welcome.hbs", &page("<p>{{identity.postal_address}}</p><p><a href=\"{{confirm_url}}\">Confirm</a></p>"));
    let mut people = String::from("external_id,email,phone,first_name,language,consent.offers,consent.news\n");
    for name in ["ada", "bo", "cy", "di"] {
        people += &format!(
            "{name},{name}@post.example,+38067000{:04},{name},en,email sms,pending\n",
            name.len() * 1111 + name.as_bytes()[0] as usize
        );
    }
    for name in ["olena", "petro", "ira", "taras"] {
        people += &format!(
            "{name},{name}@post.example,+38068000{:04},{name},uk,email sms,pending\n",
            name.len() * 1111 + name.as_bytes()[0] as usize
        );
    }
    put("customers.csv", &people);
}

/// Looked at wide and narrow, light and dark; and nothing scrolls sideways at 320 pixels, which is a wide screen at fourfold size.
async fn looked_at(page: &Page<'_>, name: &str) {
    for (width, dark) in [(1280, false), (1280, true), (360, false), (360, true), (320, false)] {
        page.look(width, dark).await;
        let name = format!("{name}-{width}{}", if dark { "-dark" } else { "" });
        page.picture(&name).await;
        page.fits(&name).await;
        page.is_accessible(&name).await;
    }
    page.look(1280, false).await;
}

/// What differs between the languages.
struct Words {
    language: &'static str,
    people: [&'static str; 3],
    save: &'static str,
    saved: &'static str,
    unsubscribe: &'static str,
    everything: &'static str,
    confirm: &'static str,
    object: &'static str,
    take_back: &'static str,
}

const WORDS: [Words; 2] = [
    Words {
        language: "en",
        people: ["ada", "bo", "cy"],
        save: "Save",
        saved: "Saved.",
        unsubscribe: "Unsubscribe",
        everything: "Unsubscribe from everything",
        confirm: "Yes, send it",
        object: "Object to advertising and profiling",
        take_back: "Take the objection back",
    },
    Words {
        language: "uk",
        people: ["olena", "petro", "ira"],
        save: "Зберегти",
        saved: "Збережено.",
        unsubscribe: "Відписатися",
        everything: "Відписатися від усього",
        confirm: "Так, надсилати",
        object: "Заперечити проти реклами й профілювання",
        take_back: "Скасувати заперечення",
    },
];

fn address(person: &str) -> String {
    format!("{person}@post.example")
}

/// In what stands for the person there is a line with all of these words.
fn assert_consent(shop: &Shop, person: &str, words: [&str; 3]) {
    let shown = shop.consents(person);
    assert!(shown.lines().any(|line| words.iter().all(|word| line.contains(word))), "{person} {words:?}:\n{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_choose_leave_object_and_confirm_by_keyboard_alone() {
    let Some(driver) = Driver::start().await else { return };
    let shop = Shop::open().await;
    for words in &WORDS {
        let page = driver.open(true).await;
        let [first, second, third] = words.people;
        let name = |name: &str| format!("{name}-{}", words.language);
        let language = async |page: &Page<'_>| assert_eq!(page.text("document.documentElement.lang").await, words.language);

        // What to receive: one topic off, another on, a break, another language and back.
        page.look(1280, false).await;
        page.go(&shop.link(&address(first), "Choose")).await;
        language(&page).await;
        looked_at(&page, &name("preferences")).await;
        let order = page.tab_to(words.object).await;
        let expected = [
            "news/email=1",
            "offers/email=1",
            "offers/sms=1",
            "workshops/email=1",
            "workshops/sms=1",
            "pause=none",
            &format!("language={}", words.language),
            words.save,
            words.everything,
            words.object,
        ];
        assert_eq!(order, expected);
        page.go(&shop.link(&address(first), "Choose")).await;
        page.tab_to("offers/sms=1").await;
        page.press(&SPACE.to_string()).await;
        page.tab_to("workshops/email=1").await;
        page.press(&SPACE.to_string()).await;
        page.tab_to("pause=none").await;
        page.press(&DOWN.to_string()).await;
        assert_eq!(page.focused().await, "pause=30");
        page.tab_to(words.save).await;
        page.submit().await;
        let said = "document.querySelector('[role=status]').textContent";
        assert_eq!(page.text(said).await, words.saved);
        assert_eq!(page.text("document.activeElement.textContent").await, words.saved, "what was done is where one reads on");
        assert!(page.text("document.title").await.starts_with(words.saved));
        let ticked = "[...document.querySelectorAll('input:checked')].map(one => one.name + '=' + one.value).join(' ')";
        assert_eq!(page.text(ticked).await, "offers/email=1 workshops/email=1 pause=keep");
        looked_at(&page, &name("preferences-saved")).await;
        assert_consent(&shop, first, ["offers", "sms", "withdrawn"]);
        assert_consent(&shop, first, ["workshops", "email", "confirmed"]);

        // Out of one topic, then out of everything.
        page.go(&shop.link(&address(second), "Unsubscribe")).await;
        language(&page).await;
        looked_at(&page, &name("unsubscribe")).await;
        assert_eq!(page.tab_to(words.unsubscribe).await.len(), 1, "the button comes first");
        page.submit().await;
        looked_at(&page, &name("unsubscribed")).await;
        assert_consent(&shop, second, ["offers", "email", "withdrawn"]);
        page.tab_to(words.everything).await;
        page.submit().await;
        looked_at(&page, &name("unsubscribed-all")).await;
        assert_consent(&shop, second, ["*", "email", "withdrawn"]);

        // The second half of a double opt-in.
        page.go(&shop.link(&address(third), "Confirm")).await;
        language(&page).await;
        looked_at(&page, &name("confirm")).await;
        assert_consent(&shop, third, ["news", "email", "pending"]);
        page.tab_to(words.confirm).await;
        page.submit().await;
        looked_at(&page, &name("confirmed")).await;
        assert_consent(&shop, third, ["news", "email", "confirmed"]);

        // The objection, and back.
        page.go(&shop.link(&address(third), "Choose")).await;
        page.tab_to(words.object).await;
        page.submit().await;
        looked_at(&page, &name("objected")).await;
        assert_consent(&shop, third, ["*", "email", "objected"]);
        page.tab_to(words.take_back).await;
        page.submit().await;
        looked_at(&page, &name("taken-back")).await;
        assert_consent(&shop, third, ["*", "email", "withdrawn"]);

        // What cannot be opened.
        page.go(&format!("{}x", shop.link(&address(third), "Choose"))).await;
        looked_at(&page, &name("not-found")).await;
        assert_eq!(page.tool("Network.getAllCookies", json!({})).await["cookies"], json!([]), "no page sets a cookie");
        page.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_do_all_of_it_where_no_script_may_run() {
    let Some(driver) = Driver::start().await else { return };
    let shop = Shop::open().await;
    let page = driver.open(false).await;
    // Scripts are off indeed.
    page.go("data:text/html,<p>still</p><script>document.body.textContent='it ran'</script>").await;
    assert!(page.html().await.contains("<p>still</p>"));
    // Waits for the words of the page that follows.
    let comes = async |words: &str| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !page.html().await.contains(words) {
            assert!(Instant::now() < deadline, "`{words}` does not come: {}", page.html().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let tabs = |count: usize| TAB.to_string().repeat(count);
    page.go(&shop.link(&address("di"), "Choose")).await;
    page.press(&format!("{}{SPACE}{}{ENTER}", tabs(3), tabs(5))).await;
    comes("role=\"status\"").await;
    assert_consent(&shop, "di", ["offers", "sms", "withdrawn"]);
    page.go(&shop.link(&address("di"), "Confirm")).await;
    page.press(&format!("{}{ENTER}", tabs(1))).await;
    comes("Subscription confirmed").await;
    assert_consent(&shop, "di", ["news", "email", "confirmed"]);
    page.go(&shop.link(&address("taras"), "Unsubscribe")).await;
    page.press(&format!("{}{ENTER}", tabs(1))).await;
    comes("Вас відписано").await;
    assert_consent(&shop, "taras", ["offers", "email", "withdrawn"]);
    page.go(&shop.link(&address("taras"), "Choose")).await;
    page.press(&format!("{}{ENTER}", tabs(10))).await;
    comes("Скасувати заперечення").await;
    assert_consent(&shop, "taras", ["*", "sms", "objected"]);
    page.close().await;
}
