//! What each provider says, in bodies of our own: the same classes as the published samples, which `tests/it/webhooks` reads where they are at hand.

use super::*;
use crate::store::responses::Scope;
use crate::store::tallies::Bounce;

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

fn told(kind: Kind, content_type: &str, body: &str) -> Vec<Told> {
    let headers = [("content-type".to_string(), content_type.to_string()), ("svix-id".to_string(), "e1".to_string())];
    let request = Request { method: "POST", url: "https://hooks.example.test/", headers: &headers, body: body.as_bytes() };
    read(kind, &request).unwrap_or_else(|why| panic!("{kind:?}: {why}: {body}"))
}

/// One event: what, to whom, under which name of the message.
fn check(kind: Kind, body: &str, what: What, person: &str, message: &str) {
    let content_type = if body.starts_with(['{', '[']) { JSON } else { FORM };
    let told = told(kind, content_type, body);
    let [told] = told.as_slice() else { panic!("{kind:?}: {} events in {body}", told.len()) };
    assert_eq!(told.what, what, "{kind:?}: {body}");
    assert_eq!(told.person.as_deref().unwrap_or_default(), person, "{kind:?}: {body}");
    assert!(told.ids.iter().any(|id| id == message), "{kind:?}: {:?} lacks {message}", told.ids);
    assert!(!told.id.is_empty(), "{kind:?}: {body}");
}

const HARD: What = What::Bounced(Bounce::Hard);
const SOFT: What = What::Bounced(Bounce::Soft);
const BLOCKED: What = What::Bounced(Bounce::Blocked);
const OPENED: What = What::Opened { machine: false };
const CLICKED: What = What::Clicked { machine: false };

#[test]
fn sendgrid() {
    let event = |rest: &str| {
        format!(r#"[{{"email":"ada@example.org","timestamp":1800000000,"sg_event_id":"e1","sg_message_id":"abc.filter.1",{rest}}}]"#)
    };
    for (rest, what) in [
        (r#""event":"processed""#, What::Accepted),
        (r#""event":"deferred","response":"451 later""#, What::Deferred),
        (r#""event":"delivered""#, What::Delivered),
        (r#""event":"bounce","type":"bounce","reason":"550 5.1.1 no such user""#, HARD),
        (r#""event":"bounce","type":"bounce","reason":"550 5.7.1 blocked by policy""#, BLOCKED),
        (r#""event":"bounce","type":"blocked","reason":"550 5.1.1 no such user""#, BLOCKED),
        (r#""event":"dropped","reason":"Bounced Address""#, What::Listed(List::Bounced)),
        (r#""event":"dropped","reason":"Spam Reporting Address""#, What::Listed(List::Complained)),
        (r#""event":"dropped","reason":"Invalid""#, What::Listed(List::Invalid)),
        (r#""event":"dropped","reason":"Invalid SMTPAPI header""#, What::Failed),
        (r#""event":"open","sg_machine_open":true"#, What::Opened { machine: true }),
        (r#""event":"open","sg_machine_open":false"#, OPENED),
        (r#""event":"click","url":"https://shop.example/""#, CLICKED),
        (r#""event":"spamreport""#, What::Complained),
        (r#""event":"unsubscribe""#, What::Unsubscribed(Scope::Everything)),
        (r#""event":"group_unsubscribe","asm_group_id":7"#, What::Unsubscribed(Scope::Topic)),
        (r#""event":"group_resubscribe","asm_group_id":7"#, What::Subscribed),
        (r#""event":"account_status_change""#, What::Nothing),
    ] {
        check(Kind::SendGrid, &event(rest), what, "ada@example.org", "abc");
    }
    let custom = told(Kind::SendGrid, JSON, &event(r#""event":"open","posthaste":"0123456789abcdef""#));
    assert_eq!(custom[0].echoes, ["0123456789abcdef"], "a custom argument may hold our mark");
}

#[test]
fn ses() {
    let mail = r#""mail":{"messageId":"m-1","destination":["ada@example.org"],"tags":{"posthaste":["0123"]},"headers":[{"name":"Message-ID","value":"<a@b>"}]}"#;
    let event = |kind: &str, rest: &str| format!(r#"{{"eventType":"{kind}",{mail}{rest}}}"#);
    let bounce = |class: &str, sub: &str, reply: &str| {
        event(
            "Bounce",
            &format!(
                r#","bounce":{{"bounceType":"{class}","bounceSubType":"{sub}","bouncedRecipients":[{{"emailAddress":"ada@example.org","diagnosticCode":"{reply}"}}]}}"#
            ),
        )
    };
    let complaint = |rest: &str| {
        event("Complaint", &format!(r#","complaint":{{"complainedRecipients":[{{"emailAddress":"ada@example.org"}}]{rest}}}"#))
    };
    for (body, what) in [
        (event("Send", ""), What::Accepted),
        (event("Delivery", r#","delivery":{"recipients":["ada@example.org"]}"#), What::Delivered),
        (bounce("Permanent", "General", "smtp; 550 5.1.1 unknown user"), HARD),
        (bounce("Permanent", "General", "smtp; 550 5.7.1 blocked using a block list"), BLOCKED),
        (bounce("Permanent", "NoEmail", ""), HARD),
        (bounce("Permanent", "Suppressed", ""), What::Listed(List::Bounced)),
        (bounce("Permanent", "OnAccountSuppressionList", ""), What::Listed(List::Bounced)),
        (bounce("Transient", "General", ""), SOFT),
        (bounce("Transient", "MailboxFull", "smtp; 452 4.2.2 full"), SOFT),
        (bounce("Transient", "MessageTooLarge", ""), What::Failed),
        (bounce("Undetermined", "Undetermined", ""), SOFT),
        (complaint(r#","complaintFeedbackType":"abuse""#), What::Complained),
        (complaint(r#","complaintFeedbackType":"not-spam""#), What::Nothing),
        (complaint(r#","complaintSubType":"OnAccountSuppressionList""#), What::Listed(List::Complained)),
        (event("Reject", r#","reject":{"reason":"Bad content"}"#), What::Failed),
        (event("Rendering Failure", ""), What::Failed),
        (event("DeliveryDelay", r#","deliveryDelay":{"delayedRecipients":[{"emailAddress":"ada@example.org"}]}"#), What::Deferred),
        (event("Open", ""), OPENED),
        (event("Click", ""), CLICKED),
        (
            event("Subscription", r#","subscription":{"newTopicPreferences":{"unsubscribeAll":true}}"#),
            What::Unsubscribed(Scope::Everything),
        ),
    ] {
        check(Kind::Ses, &body, what, "ada@example.org", "m-1");
    }
    let enveloped = serde_json::json!({ "Type": "Notification", "MessageId": "e1", "Message": event("Open", "") }).to_string();
    let opened = told(Kind::Ses, JSON, &enveloped);
    assert_eq!((opened[0].id.as_str(), opened[0].echoes.as_slice()), ("e1|ada@example.org", &["a@b".to_string(), "0123".to_string()][..]));
    assert!(told(Kind::Ses, JSON, r#"{"Type":"SubscriptionConfirmation"}"#).is_empty());
    assert!(told(Kind::Ses, JSON, r#"{"Type":"Notification","Message":"Successfully validated"}"#).is_empty());
}

#[test]
fn other_email_providers() {
    let mailgun = |rest: &str| {
        format!(
            r#"{{"signature":{{"token":"t","timestamp":"1","signature":"s"}},"event-data":{{"recipient":"a@b.c","message":{{"headers":{{"message-id":"1@x"}}}},{rest}}}}}"#
        )
    };
    for (rest, what) in [
        (r#""event":"failed","severity":"permanent","delivery-status":{"code":550,"message":"5.1.1 no such user"}"#, HARD),
        (r#""event":"failed","severity":"permanent","delivery-status":{"code":550,"message":"5.7.1 spam"}"#, BLOCKED),
        (r#""event":"failed","severity":"permanent","reason":"espblock""#, BLOCKED),
        (r#""event":"failed","severity":"permanent","reason":"suppress-complaint""#, What::Listed(List::Complained)),
        (r#""event":"failed","severity":"temporary""#, What::Deferred),
        (r#""event":"opened","client-info":{"bot":"gmail"}"#, What::Opened { machine: true }),
        (r#""event":"complained""#, What::Complained),
    ] {
        check(Kind::Mailgun, &mailgun(rest), what, "a@b.c", "1@x");
    }
    let postmark = |rest: &str| format!(r#"{{"MessageID":"m","Recipient":"a@b.c",{rest}}}"#);
    for (rest, what) in [
        (r#""RecordType":"Bounce","ID":1,"Type":"HardBounce""#, HARD),
        (r#""RecordType":"Bounce","ID":1,"Type":"SoftBounce""#, SOFT),
        (r#""RecordType":"Bounce","ID":1,"Type":"SpamNotification""#, BLOCKED),
        (r#""RecordType":"Bounce","ID":1,"Type":"DMARCPolicy""#, BLOCKED),
        (r#""RecordType":"Bounce","ID":1,"Type":"AutoResponder""#, What::Answered),
        (
            r#""RecordType":"SubscriptionChange","SuppressSending":true,"SuppressionReason":"ManualSuppression""#,
            What::Unsubscribed(Scope::Everything),
        ),
        (r#""RecordType":"SubscriptionChange","SuppressSending":false"#, What::Subscribed),
    ] {
        check(Kind::Postmark, &postmark(rest), what, "a@b.c", "m");
    }
    let sparkpost =
        |rest: &str| format!(r#"[{{"msys":{{"message_event":{{"rcpt_to":"a@b.c","transmission_id":"7","event_id":"1",{rest}}}}}}}]"#);
    for (rest, what) in [
        (r#""type":"bounce","bounce_class":"10""#, HARD),
        (r#""type":"bounce","bounce_class":"22""#, SOFT),
        (r#""type":"bounce","bounce_class":"51""#, BLOCKED),
        (r#""type":"bounce","bounce_class":"60""#, What::Answered),
        (r#""type":"bounce","bounce_class":"90""#, What::Unsubscribed(Scope::Everything)),
        (r#""type":"open","is_prefetched":true"#, What::Opened { machine: true }),
    ] {
        check(Kind::SparkPost, &sparkpost(rest), what, "a@b.c", "7");
    }
    let brevo = |event: &str| format!(r#"{{"event":"{event}","email":"a@b.c","message-id":"<1@x>","ts_event":1800000000}}"#);
    for (event, what) in [
        ("hard_bounce", HARD),
        ("soft_bounce", SOFT),
        ("proxy_open", What::Opened { machine: true }),
        ("unique_proxy_open", What::Opened { machine: true }),
    ] {
        check(Kind::Brevo, &brevo(event), what, "a@b.c", "<1@x>");
    }
    let first = |event: &str| told(Kind::Brevo, JSON, &brevo(event))[0].id.clone();
    assert_eq!(first("opened"), first("unique_opened"), "the first open is told in two ways");
    check(
        Kind::MailerSend,
        r#"{"data":{"id":"1","type":"hard_bounced","email":{"message":{"id":"m"},"recipient":{"email":"a@b.c"}}}}"#,
        HARD,
        "a@b.c",
        "m",
    );
    check(Kind::Mailjet, r#"{"event":"bounce","hard_bounce":true,"time":1,"MessageID":5,"email":"a@b.c"}"#, HARD, "a@b.c", "5");
    check(
        Kind::Mailtrap,
        r#"{"events":[{"event":"bounce","bounce_category":"spam","event_id":"1","message_id":"m","email":"a@b.c"}]}"#,
        BLOCKED,
        "a@b.c",
        "m",
    );
    check(Kind::Mandrill, r#"{"mandrill_events":[{"event":"soft_bounce","ts":1,"msg":{"_id":"m","email":"a@b.c"}}]}"#, SOFT, "a@b.c", "m");
    check(
        Kind::Mandrill,
        "mandrill_events=%5B%7B%22event%22%3A%22spam%22%2C%22msg%22%3A%7B%22_id%22%3A%22m%22%2C%22email%22%3A%22a%40b.c%22%7D%7D%5D",
        What::Complained,
        "a@b.c",
        "m",
    );
    check(
        Kind::Postal,
        r#"{"event":"MessageDeliveryFailed","uuid":"1","payload":{"status":"HardFail","message":{"id":5,"to":"a@b.c"}}}"#,
        HARD,
        "a@b.c",
        "5",
    );
    check(
        Kind::Resend,
        r#"{"type":"email.bounced","data":{"email_id":"m","to":["a@b.c"],"bounce":{"type":"Permanent","message":"550 5.1.1 unknown user"}}}"#,
        HARD,
        "a@b.c",
        "m",
    );
    check(
        Kind::UnisenderGo,
        r#"{"event_name":"transactional_email_status","status":"hard_bounced","job_id":"j","email":"a@b.c"}"#,
        HARD,
        "a@b.c",
        "j",
    );
    check(Kind::Mailomat, r#"{"id":"1","eventType":"failure_perm","messageUuid":"m","recipient":"a@b.c"}"#, HARD, "a@b.c", "m");
    check(
        Kind::Sweego,
        r#"{"event_type":"delivered","event_id":"1","headers":{"x-transaction-id":"m"},"recipient":"a@b.c"}"#,
        What::Delivered,
        "a@b.c",
        "m",
    );
}

#[test]
fn texts_and_receipts() {
    let text = |to: &str, text: &str, keyword: Option<Keyword>| What::Text { to: to.into(), text: text.into(), keyword };
    for (body, what) in [
        ("MessageSid=m&MessageStatus=sent&To=%2B1", What::Accepted),
        ("MessageSid=m&MessageStatus=delivered&To=%2B1", What::Delivered),
        ("MessageSid=m&MessageStatus=undelivered&ErrorCode=30003&To=%2B1", SOFT),
        ("MessageSid=m&MessageStatus=undelivered&ErrorCode=30005&To=%2B1", HARD),
        ("MessageSid=m&MessageStatus=undelivered&ErrorCode=30007&To=%2B1", BLOCKED),
        ("MessageSid=m&MessageStatus=failed&ErrorCode=21610&To=%2B1", What::Listed(List::Unsubscribed)),
        ("MessageSid=m&SmsStatus=received&From=%2B1&To=%2B2&Body=STOP&OptOutType=STOP", text("+2", "STOP", Some(Keyword::Stop))),
        ("MessageSid=m&SmsStatus=received&From=%2B1&To=%2B2&Body=", text("+2", "", None)),
    ] {
        check(Kind::Twilio, body, what, "+1", "m");
    }
    for (body, what) in [
        ("messageId=m&msisdn=1&to=2&status=delivered&err-code=0", What::Delivered),
        ("messageId=m&msisdn=1&to=2&status=failed&err-code=4", HARD),
        ("messageId=m&msisdn=1&to=2&status=failed&err-code=9", What::Listed(List::Unsubscribed)),
        ("messageId=m&msisdn=1&to=2&status=expired&err-code=2", SOFT),
        ("messageId=m&msisdn=1&to=2&text=Hello+%26+bye&type=text", text("2", "Hello & bye", None)),
        (r#"{"message_uuid":"m","from":"1","to":"2","channel":"sms","text":"hello"}"#, text("2", "hello", None)),
        (r#"{"message_uuid":"m","to":"1","from":"2","status":"rejected","error":{"title":1170}}"#, What::Listed(List::Unsubscribed)),
    ] {
        check(Kind::Vonage, body, what, "1", "m");
    }
    check(Kind::MessageBird, "id=m&recipient=1&status=delivered", What::Delivered, "1", "m");
    check(Kind::MessageBird, "id=m&recipient=2&originator=1&body=stop", text("2", "stop", None), "1", "m");
    check(Kind::MessageBird, "id=m&recipient=1&status=delivery_failed&statusReason=unknown+subscriber", HARD, "1", "m");
    check(
        Kind::Bird,
        r#"{"event":"sms.outbound","payload":{"id":"m","status":"delivered","receiver":{"contacts":[{"identifierValue":"+1"}]}}}"#,
        What::Delivered,
        "+1",
        "m",
    );
    check(
        Kind::Bird,
        r#"{"event":"sms.inbound","payload":{"id":"m","sender":{"contact":{"identifierValue":"+1"}},"body":{"text":{"text":"hi"}}}}"#,
        text("", "hi", None),
        "+1",
        "m",
    );
    check(Kind::Plivo, "MessageUUID=m&To=1&Status=undelivered&ErrorCode=50", HARD, "1", "m");
    check(Kind::Plivo, "MessageUUID=m&From=1&To=2&Text=hi", text("2", "hi", None), "1", "m");
    check(Kind::Smsc, "id=m&phone=1&status=1&time=x", What::Delivered, "1", "m");
    check(Kind::Smsc, "id=m&phone=1&status=20&err=1", HARD, "1", "m");
    check(Kind::Smsc, "id=m&phone=1&to=2&mes=%D1%81%D1%82%D0%BE%D0%BF", text("2", "стоп", None), "1", "m");
    check(Kind::SmsRu, "data%5B0%5D=sms_status%0Am%0A103%0A1800000000", What::Delivered, "", "m");
    check(Kind::SmsRu, "data%5B0%5D=sms_status%0Am%0A209%0A1800000000", What::Listed(List::Unsubscribed), "", "m");
    check(Kind::TurboSms, r#"{"event_id":"1","message_id":"m","recipient":"380","status":"DELIVRD"}"#, What::Delivered, "380", "m");
    check(Kind::TurboSms, r#"{"event_id":"1","message_id":"m","recipient":"380","status":"UNDELIV"}"#, SOFT, "380", "m");
}

#[test]
fn pings_tell_nothing_and_what_cannot_be_read_says_why() {
    assert!(told(Kind::SparkPost, JSON, r#"[{"msys":{}}]"#).is_empty());
    assert!(told(Kind::Mailtrap, JSON, "{}").is_empty());
    assert!(told(Kind::SmsRu, FORM, "data%5B0%5D=test%0A1").is_empty());
    let headers = [("content-type".to_string(), JSON.to_string())];
    let read =
        |kind, body: &'static str| read(kind, &Request { method: "POST", url: "https://a/", headers: &headers, body: body.as_bytes() });
    assert!(read(Kind::SendGrid, "not json").unwrap_err().starts_with("the body is no JSON"));
    assert_eq!(read(Kind::SendGrid, "7").unwrap_err(), "the body is neither an object nor an array");
    assert_eq!(read(Kind::Mailgun, "{}").unwrap_err(), "the body is a JSON object without `event-data`");
    assert_eq!(read(Kind::Twilio, "").unwrap_err(), "the body is a form without `MessageSid`");
}

#[test]
fn the_same_request_again_has_the_same_key_and_another_one_not() {
    let request = |url: &'static str, body: &'static [u8]| Request { method: "POST", url, headers: &[], body };
    let key = |kind, url, body| dedupe(kind, &request(url, body));
    assert_eq!(key(Kind::Plivo, "https://a/?b=1", b"x"), key(Kind::Plivo, "https://a/?b=1", b"x"));
    assert_ne!(key(Kind::Plivo, "https://a/?b=1", b"x"), key(Kind::Plivo, "https://a/?b=2", b"x"));
    assert_ne!(key(Kind::Plivo, "https://a/", b"x"), key(Kind::Plivo, "https://a/", b"y"));
    assert_eq!(key(Kind::Ses, "https://a/", br#"{"MessageId":"1","a":1}"#), key(Kind::Ses, "https://a/", br#"{"MessageId":"1","a":2}"#));
}

#[test]
fn every_provider_is_found_by_its_word() {
    for kind in Kind::ALL {
        assert_eq!(Kind::from_word(kind.word()), Some(*kind));
    }
    let unsigned: Vec<&str> = Kind::ALL.iter().filter(|kind| !signs(**kind)).map(|kind| kind.word()).collect();
    assert_eq!(unsigned, ["postmark", "sparkpost", "brevo", "mailjet", "smsc", "smsru"]);
}
