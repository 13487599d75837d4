//! Apple's push notification service.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dialogue::{Push, push::Apns};
use serde_json::json;

use crate::{
    Result,
    acme::Running,
    fake::{Answer, Apple, KEY_ID, Leaver, TEAM_ID, TOPIC, apns_reason as reason, authority},
};

const DEVICE: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";

async fn start(apple: &Apple) -> Result<Running> {
    let apns = Apns::from_p8(&apple.key, KEY_ID, TEAM_ID, TOPIC)?
        .root_certificate(authority().pem())?
        .base_url(apple.service.url());
    let running = Running::start(Push::new().provider(apns)).await?;
    running.register("alice", "apns", DEVICE).await?;
    Ok(running)
}

#[tokio::test]
async fn a_notification_says_what_the_event_says() -> Result<()> {
    let apple = Apple::start().await?;
    let running = start(&apple).await?;
    let accepted = running.alert("db").await?;
    let seen = apple.service.next().await?;
    assert_eq!((seen.status, seen.version), (200, hyper::Version::HTTP_2));
    assert_eq!(seen.path, format!("/3/device/{DEVICE}"));
    assert_eq!(seen.json()["aps"]["alert"], json!({ "title": "db is down", "body": "no answer" }));
    let own = &seen.json()["dialogue"];
    assert_eq!(
        (&own["roomId"], &own["event"], &own["data"]["service"]),
        (&json!("alerts"), &json!("alert"), &json!("db"))
    );
    assert_eq!(
        (&own["position"]["seq"], &own["position"]["eventId"]),
        (&json!(1), &json!(accepted.event_id))
    );
    assert_eq!((seen.header("apns-priority"), seen.header("apns-collapse-id").len()), ("10", 32));
    let expires: u64 = seen.header("apns-expiration").parse()?;
    assert!(expires.abs_diff(accepted.timestamp / 1_000 + 3_600) <= 1);
    Ok(())
}

#[tokio::test]
async fn one_token_and_one_connection_serve_all() -> Result<()> {
    let apple = Apple::start().await?;
    let running = start(&apple).await?;
    for device in 0..40 {
        running.register(&format!("user-{device}"), "apns", &format!("{device:064x}")).await?;
    }
    running.alert("db").await?;
    running.until("apns", |counts| counts.delivered == 41).await?;
    running.alert("web").await?;
    running.until("apns", |counts| counts.delivered == 82).await?;
    let seen = apple.service.so_far().await;
    assert_eq!(apple.tokens.lock().expect("nobody panicked").len(), 1);
    assert!(seen.iter().all(|seen| seen.connection == seen.connection.min(1)), "too many connections");
    Ok(())
}

/// The same server, with more devices: that many in all.
async fn crowd(apple: &Apple, devices: usize) -> Result<Running> {
    let running = start(apple).await?;
    for device in 1..devices {
        running.register(&format!("user-{device}"), "apns", &format!("{device:064x}")).await?;
    }
    Ok(running)
}

#[tokio::test]
async fn a_young_provider_token_is_not_renewed() -> Result<()> {
    let apple = Apple::start().await?;
    let running = start(&apple).await?;
    running.alert("db").await?;
    running.until("apns", |counts| counts.delivered == 1).await?;
    apple.expire();
    running.alert("web").await?;
    // Apple refuses who makes a second one within 20 minutes.
    running.until("apns", |counts| counts.retried >= 1).await?;
    assert_eq!(apple.tokens.lock().expect("nobody panicked").len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_connection_that_apple_renews_in_the_middle_loses_and_doubles_nothing() -> Result<()> {
    let apple = Apple::start().await?;
    let running = crowd(&apple, 40).await?;
    for round in 1..=5 {
        running.alert(&format!("db-{round}")).await?;
        apple.service.next().await?;
        apple.service.go_away();
        running.until("apns", |counts| counts.delivered == 40 * round).await?;
        // One was taken out before.
        let paths: Vec<_> = apple.service.so_far().await.into_iter().map(|seen| seen.path).collect();
        let different: BTreeSet<_> = paths.iter().collect();
        assert_eq!((paths.len(), different.len()), (39, 39));
        // A request on a connection that is closed at that moment is tried again later.
        apple.service.has_gone_away().await?;
    }
    assert_eq!(running.counts("apns").retried, 0);
    Ok(())
}

#[tokio::test]
async fn what_a_server_that_goes_left_undone_is_done_once_by_the_next() -> Result<()> {
    let (apple, leaver) = (Apple::start().await?, Leaver::start().await?);
    let apns = Apns::from_p8(&apple.key, KEY_ID, TEAM_ID, TOPIC)?
        .root_certificate(authority().pem())?
        .base_url(leaver.url());
    let running = Running::start(Push::new().provider(apns)).await?;
    for device in 0..40 {
        running.register(&format!("user-{device}"), "apns", &format!("{device:064x}")).await?;
    }
    running.alert("db").await?;
    running.until("apns", |counts| counts.delivered == 40).await?;
    let done = leaver.done.lock().expect("nobody panicked").clone();
    let on_the_first = done.iter().filter(|(connection, _)| *connection == 0).count();
    let different: BTreeSet<_> = done.iter().map(|(_, path)| path).collect();
    assert_eq!((done.len(), different.len(), on_the_first), (40, 40, Leaver::ANSWERED));
    Ok(())
}

#[tokio::test]
async fn what_is_done_for_each_documented_error() -> Result<()> {
    let (gone, suspended, stays, again) = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1));
    let mut table = vec![
        (reason(410, "Unregistered"), gone),
        (reason(410, "ExpiredToken"), gone),
        (reason(400, "BadDeviceToken"), suspended),
        (reason(400, "DeviceTokenNotForTopic"), suspended),
        (reason(413, "PayloadTooLarge"), stays),
        (Answer::new(301, ""), stays),
        (reason(429, "TooManyProviderTokenUpdates").header("retry-after", "1"), again),
    ];
    let messages = [
        "BadCollapseId",
        "BadExpirationDate",
        "BadMessageId",
        "BadPriority",
        "DuplicateHeaders",
        "IdleTimeout",
        "InvalidPushType",
        "PayloadEmpty",
    ];
    table.extend(messages.map(|why| (reason(400, why), stays)));
    table.extend(["BadTopic", "MissingTopic", "TopicDisallowed"].map(|why| (reason(400, why), again)));
    let forbidden = [
        "BadCertificate",
        "ExpiredProviderToken",
        "Forbidden",
        "InvalidProviderToken",
        "MissingProviderToken",
    ];
    table.extend(forbidden.map(|why| (reason(403, why), again)));
    let later = [
        (429, "TooManyRequests"),
        (500, "InternalServerError"),
        (503, "ServiceUnavailable"),
        (503, "Shutdown"),
    ];
    table.extend(later.map(|(status, why)| (reason(status, why), again)));
    for (answer, expected) in table {
        let apple = Apple::start().await?;
        let running = start(&apple).await?;
        apple.service.script([answer.clone()]);
        running.alert("db").await?;
        let one = |counts: &dialogue::push::PushCounts| {
            counts.forgotten + counts.suspended + counts.rejected + counts.retried == 1
        };
        running.until("apns", one).await?;
        let counts = running.counts("apns");
        assert_eq!(
            (counts.forgotten, counts.suspended, counts.rejected, counts.retried),
            expected,
            "{answer:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_token_that_ended_before_the_device_registered_is_not_forgotten() -> Result<()> {
    let apple = Apple::start().await?;
    let running = start(&apple).await?;
    let hour_ago = SystemTime::now() - Duration::from_secs(3_600);
    let timestamp = hour_ago.duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let body = json!({ "reason": "Unregistered", "timestamp": timestamp }).to_string();
    apple.service.script([Answer::new(410, body)]);
    running.alert("db").await?;
    assert_eq!(apple.service.next().await?.status, 410);
    running.until("apns", |counts| counts.forgotten == 1).await?;
    running.alert("web").await?;
    assert_eq!(apple.service.next().await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_suspended_device_gets_nothing_until_it_registers_again() -> Result<()> {
    let apple = Apple::start().await?;
    let running = start(&apple).await?;
    running.register("bob", "apns", &"b".repeat(64)).await?;
    apple.service.script([reason(400, "BadDeviceToken"), reason(400, "BadDeviceToken")]);
    running.alert("db").await?;
    running.until("apns", |counts| counts.suspended == 2).await?;
    running.register("bob", "apns", &"b".repeat(64)).await?;
    running.alert("web").await?;
    running.until("apns", |counts| counts.delivered == 1).await?;
    let paths: Vec<_> = apple.service.so_far().await.into_iter().map(|seen| seen.path).collect();
    assert_eq!((paths.len(), paths.last()), (3, Some(&format!("/3/device/{}", "b".repeat(64)))));
    Ok(())
}
