//! Devices of strangers, whose service answers as it likes: nobody else's pushes wait for it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use dialogue::{
    Push,
    push::{Provider, PushMessage, PushTarget, SendOutcome, Vapid},
};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};

use crate::{
    Result,
    acme::{Alert, Running},
    fake::{Browser, Google, Service, authority, fcm_error},
};

/// A provider that asks for half an hour's patience with the device `evil`, and delivers to all others.
#[derive(Clone, Default)]
struct Post {
    delivered: Arc<Mutex<Vec<String>>>,
}

impl Provider for Post {
    fn name(&self) -> &'static str {
        "post"
    }

    async fn send(&self, target: &PushTarget, push: &PushMessage<'_>) -> SendOutcome {
        match target {
            PushTarget::Token(token) if token == "evil" => {
                SendOutcome::Retry { reason: "busy".into(), after: Some(Duration::from_secs(1_800)) }
            }
            _ => {
                self.delivered.lock().expect("nobody panicked").push(push.notification.title.clone());
                SendOutcome::Delivered
            }
        }
    }
}

#[tokio::test]
async fn a_device_that_is_never_reached_keeps_no_event_from_the_others() -> Result<()> {
    let post = Post::default();
    let running = Running::start(Push::new().provider(post.clone())).await?;
    running.register("mallory", "post", "evil").await?;
    running.register("alice", "post", "good").await?;
    // More than may wait at once: 64 MiB.
    let events = 1_200;
    for number in 0..events {
        let alert = Alert { service: format!("{number}"), detail: "x".repeat(60_000) };
        running.server.alerts().trigger(alert).await?;
        running.until("post", |counts| counts.delivered > number / 100 * 100).await?;
    }
    running.until("post", |counts| counts.delivered == events).await?;
    assert_eq!(post.delivered.lock().expect("nobody panicked").len(), 1_200);
    Ok(())
}

/// A provider whose second try of the device `evil` never ends.
#[derive(Clone, Default)]
struct Pit {
    tried: Arc<Mutex<Vec<String>>>,
}

impl Provider for Pit {
    fn name(&self) -> &'static str {
        "pit"
    }

    fn concurrency(&self) -> usize {
        4
    }

    async fn send(&self, target: &PushTarget, push: &PushMessage<'_>) -> SendOutcome {
        let PushTarget::Token(token) = target else { return SendOutcome::Rejected("a token".into()) };
        if token != "evil" {
            return SendOutcome::Delivered;
        }
        let first = {
            let mut tried = self.tried.lock().expect("nobody panicked");
            let first = !tried.contains(&push.notification.title);
            tried.push(push.notification.title.clone());
            first
        };
        if !first {
            std::future::pending::<()>().await;
        }
        SendOutcome::Retry { reason: "busy".into(), after: None }
    }
}

#[tokio::test]
async fn a_first_try_waits_for_no_retry() -> Result<()> {
    let pit = Pit::default();
    let running = Running::start(Push::new().provider(pit.clone())).await?;
    running.register("mallory", "pit", "evil").await?;
    for number in 0..20 {
        running.alert(&format!("{number}")).await?;
    }
    running.until("pit", |counts| counts.retried >= 20).await?;
    let retrying = async {
        while pit.tried.lock().expect("nobody panicked").len() < 21 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // All of them are due by now: the longest wait after one try is a second.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    };
    deadline::within(Duration::from_secs(20), "a retry", retrying).await?;
    running.server.users().get("mallory").forget_devices().await?;
    running.register("alice", "pit", "good").await?;
    let begun = std::time::Instant::now();
    running.alert("db").await?;
    running.until("pit", |counts| counts.delivered == 1).await?;
    deadline::took("the others' push", begun.elapsed(), Duration::from_secs(10))?;
    Ok(())
}

async fn subscribe(running: &Running, user: &str, subscription: Value) -> Result<()> {
    let body = json!({ "provider": "webpush", "subscription": subscription, "rooms": ["alerts"] });
    running.register_for(user, body).await
}

#[tokio::test]
async fn a_service_that_never_answers_holds_nobody_elses_pushes() -> Result<()> {
    let (browser, silent) = (Browser::start().await?, Service::silent().await?);
    let vapid = Vapid::from_pem(&browser.key, "mailto:ops@acme.example")?
        .root_certificate(authority().pem())?
        .allow_private_hosts();
    let running = Running::start(Push::new().provider(vapid)).await?;
    // More than there are sends at a time.
    let mut subscription = browser.subscription("mallory");
    for device in 0..400 {
        subscription["endpoint"] = json!(format!("{}/push/{device}", silent.url()));
        subscribe(&running, &format!("mallory-{}", device / 20), subscription.clone()).await?;
    }
    running.alert("web").await?;
    silent.next().await?;
    subscribe(&running, "alice", browser.subscription("alice")).await?;
    let begun = std::time::Instant::now();
    running.alert("db").await?;
    running.until("webpush", |counts| counts.delivered >= 1).await?;
    deadline::took("the others' push", begun.elapsed(), Duration::from_secs(10))?;
    assert!(silent.so_far().await.len() < 256);
    Ok(())
}

#[tokio::test]
async fn a_device_without_quota_stops_the_others_for_a_moment_only() -> Result<()> {
    let google = Google::start().await?;
    let fcm = dialogue::push::Fcm::from_json(&google.account())?
        .root_certificate(authority().pem())?
        .base_url(google.service.url());
    let running = Running::start(Push::new().provider(fcm)).await?;
    running.register("mallory", "fcm", "device-1").await?;
    let quota = fcm_error(429, "RESOURCE_EXHAUSTED", Some("QUOTA_EXCEEDED"));
    google.service.script([quota.header("retry-after", "1800")]);
    running.alert("web").await?;
    running.until("fcm", |counts| counts.expired + counts.retried == 1).await?;
    running.register("alice", "fcm", "device-2").await?;
    let begun = std::time::Instant::now();
    running.alert("db").await?;
    running.until("fcm", |counts| counts.delivered >= 1).await?;
    deadline::took("the others' push", begun.elapsed(), Duration::from_secs(10))?;
    Ok(())
}

async fn register_anonymously(running: &Running, number: usize) -> Result<(u16, Value)> {
    let body = json!({ "provider": "post", "token": format!("device-{number}"), "rooms": ["alerts"] });
    let request = Request::post(format!("http://{}/push", running.address))
        .header("content-type", "application/json")
        .body(Full::<Bytes>::from(body.to_string()))?;
    let answer = Client::builder(TokioExecutor::new()).build_http().request(request).await?;
    let status = answer.status().as_u16();
    Ok((status, serde_json::from_slice(&answer.into_body().collect().await?.to_bytes())?))
}

#[tokio::test]
async fn an_address_registers_so_many_devices_of_anonymous_users() -> Result<()> {
    let post = Post::default();
    let running = Running::with(Push::new().provider(post), |server| server.allow_anonymous()).await?;
    for number in 0..256 {
        assert_eq!(register_anonymously(&running, number).await?.0, 200, "{number}");
    }
    let (status, error) = register_anonymously(&running, 256).await?;
    assert_eq!((status, &error["code"]), (409, &json!("TOO_MANY")), "{error}");
    // Who shows a token is counted by name.
    running.register("alice", "post", "good").await
}
