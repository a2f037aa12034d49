//! A small workspace as files, for stories with real processes: one campaign, `letter`, to everybody who agreed.

use std::fmt::Write as _;
use std::path::Path;

/// What differs from story to story.
pub struct Shop {
    /// YAML of `providers`, without the key.
    pub providers: String,
    /// Transactional campaigns send again what is uncertain; advertising holds it.
    pub transactional: bool,
    /// Short messages instead of letters.
    pub sms: bool,
    pub schedule: String,
}

impl Shop {
    /// Letters to an SMTP receiver on this machine, due on 2027-03-01 at ten.
    pub fn letters(port: u16, connections: usize) -> Shop {
        let providers = format!(
            "{{ sink: {{ channel: email, kind: smtp, host: 127.0.0.1, port: {port}, security: none, connections: {connections} }} }}"
        );
        Shop { providers, transactional: false, sms: false, schedule: "{ at: 2027-03-01 10:00 }".into() }
    }

    pub fn write(&self, workspace: &Path) {
        let put = |path: &str, text: &str| put(workspace, path, text);
        put(".env", "POSTHASTE_PEPPER=pepper-for-tests-only\nPOSTHASTE_SIGNING=k1:signing-key-for-tests-only\n");
        put(
            "posthaste.yaml",
            &format!(
                r#"workspace: kill
public_url: https://go.kill.example
zone: UTC
country: UA
languages: [ en ]
currency: USD
categories: [ retail ]
topics: {{ offers: {{ title: "Offers", channels: [ email, sms ], from: shop }} }}
identities:
  shop: {{ postal_address: "1 Main Street, Springfield", email: {{ name: "The Shop", address: news@mail.kill.example }}, sms: {{ sender: SHOP }} }}
providers: {}
"#,
                self.providers
            ),
        );
        put("campaigns/segments/agreed.yaml", "segment: agreed\ntitle: \"Agreed\"\nwhere: { consent: offers, is: granted }\n");
        let class = match self.transactional {
            true => "class: transactional\naudience: { segment: agreed }\n",
            false => {
                "class: advertising\ntopic: offers\ntask: grow\ncategory: retail\ngoal: { event: purchase, within: 7 days }\naudience: { segment: agreed, holdout: 0% }\n"
            }
        };
        let message = match self.sms {
            true => "{ channel: sms, from: shop, text: \"Hello {{first_name}}\" }",
            false => "{ from: shop, template: letter, subject: \"For you, {{first_name}}\" }",
        };
        let campaign = format!(
            "campaign: letter\ntitle: \"A letter\"\nowner: ada@kill.example\n{class}schedule: {}\nmessage: {message}\n",
            self.schedule
        );
        put("campaigns/letter.yaml", &campaign);
        put(
            "templates/letter.hbs",
            r#"<!doctype html><html lang="en"><head><meta charset="utf-8"><title>For you</title></head><body>
<h1>Hello {{first_name}}</h1><p><a href="https://shop.kill.example/new">See the new things</a></p>
<p>{{identity.postal_address}} · <a href="{{unsubscribe_url}}">Unsubscribe</a></p></body></html>
"#,
        );
    }
}

/// The workspace's server takes events, with the key `key-for-tests`.
pub fn take_events(workspace: &Path) {
    let env = std::fs::read_to_string(workspace.join(".env")).unwrap();
    std::fs::write(workspace.join(".env"), format!("{env}POSTHASTE_API_KEY=key-for-tests\n")).unwrap();
}

/// `customers.csv` with so many people who agreed to offers on both channels.
pub fn write_customers(workspace: &Path, count: usize) {
    let mut text = String::from("external_id,email,phone,first_name,consent.offers\n");
    for number in 0..count {
        let _ = writeln!(text, "K{number},person.{number}@kill.example,+38067{number:07},Person {number},email sms");
    }
    std::fs::write(workspace.join("customers.csv"), text).unwrap();
}

/// Writes a file of a workspace, with the folders that it needs.
pub fn put(workspace: &Path, path: &str, text: &str) {
    let path = workspace.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}
