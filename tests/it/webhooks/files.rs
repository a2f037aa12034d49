//! How the files say what webhooks are checked with.

use crate::world::WORKSPACE;
use posthaste::campaigns;
use posthaste::diagnostics::Files;
use posthaste::webhooks::{Kind, doors};

fn workspace(providers: &str) -> Result<campaigns::Workspace, String> {
    let mut files = Files::default();
    let (before, _) = WORKSPACE.split_once("providers:").unwrap();
    files.insert("posthaste.yaml", format!("{before}providers:\n{providers}"));
    let (definitions, problems) = campaigns::read(&files);
    definitions.map(|definitions| definitions.workspace).ok_or_else(|| problems.render(&files, false, 140))
}

#[test]
fn doors_are_those_that_the_files_open() {
    let workspace = workspace(
        r#"  mail: { channel: email, kind: smtp, host: smtp.example, webhooks: { of: mailgun, key: [ "${NEW}", "${OLD}" ], login: "${NEW}" } }
  plain: { channel: email, kind: smtp, host: smtp.example }
  texts: { channel: sms, kind: twilio, account: AC1, token: "${TOKEN}", webhooks: {} }
  topic: { channel: email, kind: smtp, host: smtp.example, webhooks: { of: ses, topics: "arn:aws:sns:eu-west-1:1:mail" } }
  short: { channel: email, kind: smtp, host: smtp.example, webhooks: { of: brevo, secret: "${TOKEN}" } }
  unset: { channel: email, kind: smtp, host: smtp.example, webhooks: { of: brevo, secret: "${NOWHERE}" } }
  open: { channel: email, kind: smtp, host: smtp.example, webhooks: { of: postmark, key: "${NEW}" } }
"#,
    )
    .unwrap();
    let resolve = |text: &str| match text.contains("NOWHERE") {
        true => Err("NOWHERE".to_string()),
        false => Ok(text.replace("${", "").replace('}', "")),
    };
    let (doors, closed) = doors(&workspace, &resolve);
    let open: Vec<_> =
        doors.iter().map(|(name, door)| (name.as_str(), door.kind, door.locks.keys.clone(), door.locks.login.clone())).collect();
    assert_eq!(
        open,
        [
            ("mail", Kind::Mailgun, vec!["NEW".to_string(), "OLD".to_string()], Some("NEW".to_string())),
            ("texts", Kind::Twilio, vec!["TOKEN".to_string()], None),
            ("topic", Kind::Ses, vec![], None),
        ]
    );
    assert_eq!(
        closed,
        [
            "the webhooks of `open` stay closed: postmark signs nothing, so `secret` must be set",
            "the webhooks of `short` stay closed: `secret` is shorter than 22 characters",
            "the webhooks of `unset` stay closed: the secret NOWHERE is not set: write it to .env or the environment",
        ]
    );
}

#[test]
fn what_would_let_anybody_in_or_nobody_is_a_problem() {
    for (webhooks, problem) in [
        ("{ key: \"${A}\" }", "whose webhooks come for `mail`?"),
        ("{ of: mailgun }", "nothing here proves that a webhook is genuine"),
        ("{ of: mailgun, key: plain }", "plain"),
        ("{ of: ses, key: \"${A}\" }", "`topics` is missing"),
        ("{ of: mailgum, key: \"${A}\" }", "did you mean `mailgun`?"),
        ("{ of: mailgun, keys: \"${A}\" }", "`keys` is no key of webhooks"),
    ] {
        let written = format!("  mail: {{ channel: email, kind: smtp, host: smtp.example, webhooks: {webhooks} }}\n");
        let problems = workspace(&written).unwrap_err();
        assert!(problems.contains(problem), "{webhooks}: {problems}");
    }
}
