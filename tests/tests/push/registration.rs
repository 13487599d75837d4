//! Devices that come and go.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use dialogue::{
    Push, Refusal,
    push::{Provider, PushMessage, PushTarget, SendOutcome},
};
use dialogue_tests::until;
use serde_json::{Value, json};

use crate::{
    Result,
    acme::{Alert, Running},
};

/// A provider of the application's own, that takes everything.
pub(crate) struct Pigeon;

impl Provider for Pigeon {
    fn name(&self) -> &'static str {
        "pigeon"
    }

    fn application_key(&self) -> Option<String> {
        Some("coo".to_owned())
    }

    fn check(&self, target: &PushTarget) -> Result<(), String> {
        match target {
            PushTarget::Token(token) if token.starts_with("loft-") => Ok(()),
            _ => Err("`token` is a loft".to_owned()),
        }
    }

    async fn send(&self, _: &PushTarget, _: &PushMessage<'_>) -> SendOutcome {
        SendOutcome::Delivered
    }
}

async fn start() -> Result<Running> {
    Running::start(Push::new().provider(Pigeon).max_devices_per_user(3).max_rooms_per_device(4)).await
}

fn device(token: &str, rooms: &[&str]) -> Value {
    json!({ "provider": "pigeon", "token": token, "rooms": rooms })
}

#[tokio::test]
async fn clients_are_told_the_key_of_an_applications_own_provider() -> Result<()> {
    let running = start().await?;
    let (status, answer) = running.ask("alice", "GET", "/push/key", json!(null)).await?;
    assert_eq!((status, &answer["key"]), (200, &json!("coo")));
    Ok(())
}

/// Tells the room of something, which so many devices are to hear.
async fn is_heard_by(running: &Running, devices: u64) -> Result<()> {
    let before = running.counts("pigeon").delivered;
    running.alert(&format!("{before}")).await?;
    // A witness of another room hears what comes after it.
    running.register_for("witness", device("loft-witness", &["project:7"])).await?;
    let later = Alert { service: format!("{before}"), detail: String::new() };
    running.server.project(7).trigger(later).await?;
    running.until("pigeon", |counts| counts.delivered > before + devices).await?;
    assert_eq!(running.counts("pigeon").delivered, before + devices + 1);
    Ok(())
}

#[tokio::test]
async fn registering_again_is_no_second_device() -> Result<()> {
    let running = start().await?;
    for _ in 0..5 {
        running.register("alice", "pigeon", "loft-1").await?;
    }
    is_heard_by(&running, 1).await?;
    // Another user on the same device: it is theirs now.
    running.register("bob", "pigeon", "loft-1").await?;
    is_heard_by(&running, 1).await?;
    assert_eq!(running.ask("alice", "DELETE", "/push", device("loft-1", &["alerts"])).await?.0, 200);
    is_heard_by(&running, 1).await?;
    assert_eq!(running.ask("bob", "DELETE", "/push", device("loft-1", &["alerts"])).await?.0, 200);
    is_heard_by(&running, 0).await
}

#[tokio::test]
async fn a_user_has_so_many_devices_and_a_device_so_many_rooms() -> Result<()> {
    let running = start().await?;
    for loft in 0..3 {
        running.register("alice", "pigeon", &format!("loft-{loft}")).await?;
    }
    let (status, error) = running.ask("alice", "POST", "/push", device("loft-3", &["alerts"])).await?;
    assert_eq!((status, &error["code"]), (409, &json!("TOO_MANY")));
    running.register("alice", "pigeon", "loft-2").await?;
    running.register("bob", "pigeon", "loft-3").await?;
    let rooms = ["project:1", "project:2", "project:3", "project:4"];
    assert_eq!(running.ask("bob", "POST", "/push", device("loft-3", &rooms)).await?.1["code"], "TOO_MANY");
    assert_eq!(running.ask("bob", "POST", "/push", device("loft-3", &rooms[..3])).await?.0, 200);
    assert_eq!(running.server.users().get("alice").forget_devices().await?, 3);
    is_heard_by(&running, 1).await?;
    running.register("alice", "pigeon", "loft-9").await
}

/// Counts how often the application is asked who may join.
struct Asked(Arc<AtomicUsize>);

impl dialogue::Hooks for Asked {
    async fn before_join(&self, _: &dialogue::Caller<()>, _: &dialogue::RoomRef<'_>) -> Result<(), Refusal> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test]
async fn the_application_is_asked_once_about_each_room_and_never_about_too_many() -> Result<()> {
    let asked = Arc::new(AtomicUsize::new(0));
    let hooks = Asked(Arc::clone(&asked));
    let push = Push::new().provider(Pigeon).max_rooms_per_device(4);
    let running = Running::with(push, |server| server.hooks(hooks)).await?;
    let many: Vec<_> = (0..900).map(|key| format!("project:{key}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let (status, error) = running.ask("alice", "POST", "/push", device("loft-1", &many)).await?;
    assert_eq!((status, &error["code"]), (409, &json!("TOO_MANY")));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    assert_eq!(running.ask("alice", "POST", "/push", device("loft-1", &["project:1"; 900])).await?.0, 200);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_registration_is_named() -> Result<()> {
    let running = start().await?;
    let table = [
        (json!({}), "INVALID_REQUEST", "provider"),
        (json!({ "provider": "dove", "token": "t", "rooms": ["alerts"] }), "INVALID_REQUEST", "provider"),
        (json!({ "provider": "fcm", "token": "t", "rooms": ["alerts"] }), "INVALID_REQUEST", "no `fcm`"),
        (json!({ "provider": "pigeon", "token": "nest", "rooms": ["alerts"] }), "INVALID_REQUEST", "loft"),
        (json!({ "provider": "pigeon", "token": "loft-1" }), "INVALID_REQUEST", "rooms"),
        (json!({ "provider": "pigeon", "token": "loft-1", "rooms": [] }), "INVALID_REQUEST", "rooms"),
        (
            json!({ "provider": "pigeon", "token": "loft-1", "rooms": ["alerts"], "language": "Ἑλληνική" }),
            "INVALID_REQUEST",
            "language",
        ),
        (
            json!({ "provider": "webpush", "subscription": { "endpoint": "x" }, "rooms": ["alerts"] }),
            "INVALID_REQUEST",
            "subscription",
        ),
        (device("loft-1", &["chat"]), "ROOM_NOT_FOUND", "chat"),
        (device("loft-1", &["project:042"]), "ROOM_NOT_FOUND", "project"),
        (device("loft-1", &["members"]), "JOIN_DENIED", "member"),
    ];
    for (body, code, word) in table {
        let (_, error) = running.ask("alice", "POST", "/push", body.clone()).await?;
        let message = error["message"].as_str().unwrap_or_default();
        assert_eq!((&error["code"], message.contains(word)), (&json!(code), true), "{body}: {error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_socket_registers_as_http_does() -> Result<()> {
    let running = start().await?;
    let mut socket = running.join("alice").await?;
    let mut frame = device("loft-1", &["alerts"]);
    (frame["type"], frame["id"]) = (json!("registerPush"), json!(7));
    socket.send(frame.clone()).await?;
    assert_eq!(socket.until("ok").await?["id"], 7);
    // Alice is in the room.
    is_heard_by(&running, 0).await?;
    running.until("pigeon", |counts| counts.cancelled == 1).await?;
    drop(socket);
    let alerts = running.server.alerts();
    until("alice is gone", async || alerts.members().await.is_ok_and(|members| members.is_empty())).await?;
    is_heard_by(&running, 1).await
}
