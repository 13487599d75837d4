//! Firebase Cloud Messaging.

use dialogue::{Push, push::Fcm};

use crate::fake::fcm_error as error;
use crate::{
    Result,
    acme::Running,
    fake::{Answer, Google, authority},
};

async fn start(google: &Google) -> Result<Running> {
    let fcm = Fcm::from_json(&google.account())?
        .root_certificate(authority().pem())?
        .base_url(google.service.url());
    let running = Running::start(Push::new().provider(fcm)).await?;
    running.register("alice", "fcm", "device-1").await?;
    Ok(running)
}

#[tokio::test]
async fn a_message_says_what_the_event_says() -> Result<()> {
    let google = Google::start().await?;
    let running = start(&google).await?;
    let accepted = running.alert("db").await?;
    let seen = google.message().await?;
    assert_eq!((seen.status, seen.version), (200, hyper::Version::HTTP_2));
    let message = &seen.json()["message"];
    assert_eq!(message["token"], "device-1");
    assert_eq!(message["notification"], serde_json::json!({ "title": "db is down", "body": "no answer" }));
    assert_eq!(message["data"]["roomId"], "alerts");
    assert_eq!(message["data"]["eventId"], accepted.event_id);
    assert_eq!(message["data"]["seq"], "1");
    assert_eq!(message["data"]["data"], r#"{"service":"db","detail":"no answer"}"#);
    assert_eq!(message["android"]["priority"], "HIGH");
    assert_eq!(message["webpush"]["fcm_options"]["link"], "https://acme.example/db");
    let topic = message["android"]["collapse_key"].as_str().unwrap_or_default();
    assert!(topic.len() == 32 && message["apns"]["headers"]["apns-collapse-id"] == topic);
    running.until("fcm", |counts| counts.delivered == 1).await
}

#[tokio::test]
async fn one_access_token_is_asked_for_and_a_withdrawn_one_is_renewed_at_once() -> Result<()> {
    let google = Google::start().await?;
    let running = start(&google).await?;
    for device in 2..50 {
        running.register("alice", "fcm", &format!("device-{device}")).await.ok();
        running.register(&format!("user-{device}"), "fcm", &format!("device-{device}")).await?;
    }
    running.alert("db").await?;
    running.until("fcm", |counts| counts.delivered == 49).await?;
    assert_eq!(google.granted(), 1);
    google.withdraw();
    running.alert("web").await?;
    running.until("fcm", |counts| counts.delivered == 98).await?;
    assert_eq!((google.granted(), running.counts("fcm").retried), (2, 0));
    Ok(())
}

/// What becomes of the device, by whether the next event reaches it, and what is counted.
#[tokio::test]
async fn what_is_done_for_each_documented_error() -> Result<()> {
    let (gone, stays, again) = ((1, 0, 0), (0, 1, 0), (0, 0, 1));
    let html = Answer::new(404, "<html>no such page</html>");
    let table = [
        (error(404, "NOT_FOUND", Some("UNREGISTERED")), gone),
        (error(400, "INVALID_ARGUMENT", Some("INVALID_ARGUMENT")), stays),
        (error(400, "INVALID_ARGUMENT", None), stays),
        (error(500, "INTERNAL", Some("INTERNAL")), again),
        (error(503, "UNAVAILABLE", Some("UNAVAILABLE")).header("retry-after", "1"), again),
        (error(502, "BAD_GATEWAY", None), again),
        (error(429, "RESOURCE_EXHAUSTED", Some("QUOTA_EXCEEDED")).header("retry-after", "1"), again),
        (error(401, "UNAUTHENTICATED", Some("THIRD_PARTY_AUTH_ERROR")), again),
        (error(403, "PERMISSION_DENIED", Some("SENDER_ID_MISMATCH")), again),
        (html, again),
        (Answer::new(302, "").header("location", "https://localhost/elsewhere"), stays),
    ];
    for (answer, expected) in table {
        let google = Google::start().await?;
        let running = start(&google).await?;
        google.service.script([answer.clone()]);
        running.alert("db").await?;
        running.until("fcm", |counts| counts.forgotten + counts.rejected + counts.retried == 1).await?;
        let counts = running.counts("fcm");
        assert_eq!((counts.forgotten, counts.rejected, counts.retried), expected, "{answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_tried_again_arrives_and_not_before_it_may() -> Result<()> {
    let google = Google::start().await?;
    let running = start(&google).await?;
    google.service.script([error(503, "UNAVAILABLE", Some("UNAVAILABLE")).header("retry-after", "2")]);
    let begun = std::time::Instant::now();
    running.alert("db").await?;
    let (first, second) = (google.message().await?, google.message().await?);
    assert_eq!((first.status, second.status, first.body == second.body), (503, 200, false));
    assert!(begun.elapsed() >= std::time::Duration::from_secs(2));
    running.until("fcm", |counts| counts.delivered == 1).await
}

#[tokio::test]
async fn while_there_is_no_quota_nobody_is_tried() -> Result<()> {
    let google = Google::start().await?;
    let running = start(&google).await?;
    google
        .service
        .script([error(429, "RESOURCE_EXHAUSTED", Some("QUOTA_EXCEEDED")).header("retry-after", "2")]);
    let begun = std::time::Instant::now();
    running.alert("db").await?;
    assert_eq!(google.message().await?.status, 429);
    running.until("fcm", |counts| counts.retried == 1).await?;
    running.register("bob", "fcm", "device-2").await?;
    running.alert("web").await?;
    google.message().await?;
    assert!(begun.elapsed() >= std::time::Duration::from_secs(2));
    running.until("fcm", |counts| counts.delivered >= 2).await
}

#[tokio::test]
async fn no_access_token_is_no_push_but_no_storm_either() -> Result<()> {
    let (google, other) = (Google::start().await?, Google::start().await?);
    // Another's token endpoint takes the assertion for one that is not meant for it.
    let account = google.account().replace("/token", "/nowhere");
    let fcm = Fcm::from_json(&account)?.root_certificate(authority().pem())?.base_url(other.service.url());
    let running = Running::start(Push::new().provider(fcm)).await?;
    for user in 0..20 {
        running.register(&format!("user-{user}"), "fcm", &format!("device-{user}")).await?;
    }
    let begun = std::time::Instant::now();
    running.alert("db").await?;
    running.until("fcm", |counts| counts.retried >= 20).await?;
    let asked = google.service.so_far().await.len() as u64;
    // Once, and after five seconds once more.
    assert!((1..=1 + begun.elapsed().as_secs() / 5).contains(&asked), "{asked}");
    assert!(other.service.so_far().await.is_empty());
    Ok(())
}

#[test]
fn keys_that_are_of_no_use_are_named_and_not_shown() {
    let bad = ["", "{}", r#"{"type":"user"}"#];
    for json in bad {
        let error = Fcm::from_json(json).expect_err("no account").to_string();
        assert!(error.contains("service account"), "{error}");
    }
    let secret = r#"{"type":"service_account","project_id":"acme","client_email":"x","private_key":"SECRET","token_uri":"https://localhost/token"}"#;
    let error = Fcm::from_json(secret).expect_err("no key").to_string();
    assert!(error.contains("PKCS #8") && !error.contains("SECRET"), "{error}");
}
