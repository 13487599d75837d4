//! Who is told, when, and how often.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use dialogue::{
    Push,
    push::{Provider, PushMessage, PushTarget, SendOutcome},
    store::Memory,
};
use dialogue_tests::until;
use futures_util::future::poll_immediate;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::{
    Result,
    acme::{Alert, GRACE, Greeting, Loud, Patient, Running},
};

/// A provider that says what it is told to, and remembers whom it was to tell what.
#[derive(Clone)]
pub(crate) struct Crow {
    sent: Arc<Mutex<Vec<(String, String)>>>,
    says: Arc<dyn Fn(usize) -> SendOutcome + Send + Sync>,
    count: Arc<AtomicUsize>,
    /// It waits for one of these before each answer.
    leave: Arc<Semaphore>,
}

impl Crow {
    pub(crate) fn new(says: impl Fn(usize) -> SendOutcome + Send + Sync + 'static) -> Self {
        let leave = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Crow { sent: Arc::default(), says: Arc::new(says), count: Arc::default(), leave }
    }

    pub(crate) fn willing() -> Self {
        Self::new(|_| SendOutcome::Delivered)
    }

    pub(crate) fn sent(&self) -> Vec<(String, String)> {
        let mut sent = self.sent.lock().expect("nobody panicked").clone();
        sent.sort();
        sent
    }
}

impl Provider for Crow {
    fn name(&self) -> &'static str {
        "crow"
    }

    async fn send(&self, target: &PushTarget, push: &PushMessage<'_>) -> SendOutcome {
        let PushTarget::Token(token) = target else { return SendOutcome::Rejected("a token".to_owned()) };
        let what = format!("{} {}", push.notification.title, push.notification.body);
        self.sent.lock().expect("nobody panicked").push((token.clone(), what.trim().to_owned()));
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        if let Ok(leave) = self.leave.acquire().await {
            leave.forget();
        }
        (self.says)(number)
    }
}

async fn start(crow: &Crow) -> Result<Running> {
    let running = Running::start(Push::new().provider(crow.clone())).await?;
    running.register("alice", "crow", "a").await?;
    Ok(running)
}

#[tokio::test]
async fn who_is_in_the_room_is_not_told_unless_all_are() -> Result<()> {
    let crow = Crow::willing();
    let running = start(&crow).await?;
    running.register("bob", "crow", "b").await?;
    let _socket = running.join("bob").await?;
    running.alert("db").await?;
    running.until("crow", |counts| counts.delivered + counts.cancelled == 2).await?;
    assert_eq!(crow.sent(), [("a".into(), "db is down no answer".into())]);
    running.server.alerts().trigger(Loud { number: 1 }).await?;
    running.until("crow", |counts| counts.delivered == 3).await
}

#[tokio::test]
async fn an_event_that_its_sender_did_not_wait_for_is_pushed() -> Result<()> {
    let crow = Crow::willing();
    let running = start(&crow).await?;
    let alerts = running.server.alerts();
    assert!(poll_immediate(alerts.trigger(Loud { number: 1 })).await.is_none());
    running.until("crow", |counts| counts.delivered == 1).await
}

#[tokio::test]
async fn an_event_that_middleware_did_not_wait_for_is_pushed() -> Result<()> {
    let crow = Crow::willing();
    let running = start(&crow).await?;
    let body = json!({ "provider": "crow", "token": "b", "rooms": ["hasty"] });
    running.register_for("bob", body).await?;
    let alert = Alert { service: "db".to_owned(), detail: "no answer".to_owned() };
    assert!(running.server.hasty().trigger(alert).await.is_err());
    running.until("crow", |counts| counts.delivered == 1).await
}

#[tokio::test]
async fn who_comes_back_in_time_is_not_told() -> Result<()> {
    let crow = Crow::willing();
    let running = start(&crow).await?;
    let began = Instant::now();
    running.server.alerts().trigger(Patient).await?;
    let _socket = running.join("alice").await?;
    deadline::took("alice's way back", began.elapsed(), GRACE)?;
    running.until("crow", |counts| counts.cancelled == 1).await?;
    assert!(crow.sent().is_empty());
    Ok(())
}

#[tokio::test]
async fn who_saw_it_and_left_is_not_told() -> Result<()> {
    let crow = Crow::willing();
    let running = start(&crow).await?;
    let mut socket = running.join("alice").await?;
    running.server.alerts().trigger(Patient).await?;
    socket.until("event").await?;
    drop(socket);
    running.until("crow", |counts| counts.cancelled == 1).await?;
    assert!(crow.sent().is_empty());
    Ok(())
}

#[tokio::test]
async fn everybody_in_their_language_and_not_the_author() -> Result<()> {
    let crow = Crow::willing();
    let running = start(&crow).await?;
    for (user, language) in [("bob", "de-AT"), ("carol", "en")] {
        let body = json!({ "provider": "crow", "token": user, "rooms": ["alerts"], "language": language });
        running.register_for(user, body).await?;
    }
    running.server.alerts().trigger(Greeting { by: "carol".into() }).await?;
    running.until("crow", |counts| counts.delivered == 2).await?;
    let hello = |name: &str, word: &str| (name.to_owned(), format!("{word} from system in alerts"));
    assert_eq!(crow.sent(), [hello("a", "Hello"), hello("bob", "Hallo")]);
    Ok(())
}

#[tokio::test]
async fn one_chain_for_each_device_and_event() -> Result<()> {
    let crow = Crow::new(|number| match number {
        0..2 => SendOutcome::Retry { reason: "busy".into(), after: None },
        _ => SendOutcome::Delivered,
    });
    let running = start(&crow).await?;
    running.alert("db").await?;
    running.until("crow", |counts| counts.delivered == 1).await?;
    assert_eq!((crow.sent().len(), running.counts("crow").retried), (3, 2));
    Ok(())
}

#[tokio::test]
async fn a_notice_that_is_too_old_is_given_up() -> Result<()> {
    let crow =
        Crow::new(|_| SendOutcome::Retry { reason: "busy".into(), after: Some(Duration::from_secs(90)) });
    let running = start(&crow).await?;
    running.server.alerts().trigger(Loud { number: 1 }).await?;
    running.until("crow", |counts| counts.expired == 1).await?;
    assert_eq!(crow.sent().len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_newer_event_takes_the_place_of_one_that_waits() -> Result<()> {
    let crow = Crow::new(|number| match number {
        // In time for the newer one, however busy the machine.
        0 => SendOutcome::Retry { reason: "busy".into(), after: Some(Duration::from_secs(10)) },
        _ => SendOutcome::Delivered,
    });
    let running = start(&crow).await?;
    running.alert("db").await?;
    running.until("crow", |counts| counts.retried == 1).await?;
    running.alert("db").await?;
    running.until("crow", |counts| counts.delivered == 1 && counts.cancelled == 1).await?;
    assert_eq!(crow.sent().len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_device_that_registers_while_it_is_called_gone_stays() -> Result<()> {
    let crow = Crow::new(|number| match number {
        0 => SendOutcome::Unregistered(None),
        _ => SendOutcome::Delivered,
    });
    crow.leave.forget_permits(Semaphore::MAX_PERMITS);
    let running = start(&crow).await?;
    running.alert("db").await?;
    until("the crow is on its way", async || !crow.sent().is_empty()).await?;
    running.register("alice", "crow", "a").await?;
    crow.leave.add_permits(2);
    running.until("crow", |counts| counts.forgotten == 1).await?;
    running.alert("web").await?;
    running.until("crow", |counts| counts.delivered == 1).await
}

/// Bob may be no longer in the room, as far as the application knows.
struct Ban(Arc<Mutex<Result<(), dialogue::Refusal>>>);

impl dialogue::Hooks for Ban {
    async fn before_push(
        &self,
        user_id: &str,
        room: &dialogue::RoomRef<'_>,
    ) -> Result<(), dialogue::Refusal> {
        assert_eq!(room.id(), "alerts");
        if user_id == "bob" { self.0.lock().expect("nobody panicked").clone() } else { Ok(()) }
    }
}

#[tokio::test]
async fn who_may_no_longer_be_told_is_not_until_they_register_again() -> Result<()> {
    let (crow, says) = (Crow::willing(), Arc::new(Mutex::new(Ok(()))));
    let ban = Ban(Arc::clone(&says));
    let running = Running::with(Push::new().provider(crow.clone()), |server| server.hooks(ban)).await?;
    running.register("alice", "crow", "a").await?;
    running.register("bob", "crow", "b").await?;
    *says.lock().expect("nobody panicked") = Err(dialogue::Refusal::join_denied("no longer"));
    running.alert("1").await?;
    running.until("crow", |counts| counts.withdrawn == 1 && counts.delivered == 1).await?;
    *says.lock().expect("nobody panicked") = Ok(());
    running.alert("2").await?;
    running.until("crow", |counts| counts.delivered == 2).await?;
    running.register("bob", "crow", "b").await?;
    running.alert("3").await?;
    running.until("crow", |counts| counts.delivered == 4).await?;
    let devices: Vec<_> = crow.sent().into_iter().map(|(device, _)| device).collect();
    assert_eq!(devices, ["a", "a", "a", "b"]);
    Ok(())
}

#[tokio::test]
async fn while_the_application_cannot_say_who_may_be_told_pushes_wait() -> Result<()> {
    let (crow, says) = (Crow::willing(), Arc::new(Mutex::new(Ok(()))));
    let ban = Ban(Arc::clone(&says));
    let running = Running::with(Push::new().provider(crow.clone()), |server| server.hooks(ban)).await?;
    running.register("bob", "crow", "b").await?;
    let away = dialogue::Refusal::new(dialogue::Code::Unavailable, "no database");
    *says.lock().expect("nobody panicked") = Err(away);
    running.alert("db").await?;
    running.until("crow", |counts| counts.retried >= 1).await?;
    *says.lock().expect("nobody panicked") = Ok(());
    running.until("crow", |counts| counts.delivered == 1).await
}

#[tokio::test]
async fn a_duplicate_is_not_pushed_again() -> Result<()> {
    let crow = Crow::willing();
    let running = start(&crow).await?;
    let mut socket = running.join("bob").await?;
    for id in 0..3 {
        let data = json!({ "by": "bob" });
        let frame = json!({ "type": "trigger", "id": id, "roomId": "alerts", "event": "greeting", "data": data, "key": "k" });
        socket.send(frame).await?;
        assert_eq!(socket.until("ok").await?["duplicate"] == true, id > 0);
    }
    running.alert("db").await?;
    running.until("crow", |counts| counts.delivered == 2).await?;
    assert_eq!(crow.sent().len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_keyed_room_has_devices_of_its_own() -> Result<()> {
    let crow = Crow::willing();
    let running = start(&crow).await?;
    let body = json!({ "provider": "crow", "token": "p", "rooms": ["project:7"] });
    running.register_for("bob", body).await?;
    let alert = || crate::acme::Alert { service: "db".into(), detail: String::new() };
    running.server.project(8).trigger(alert()).await?;
    running.server.project(7).trigger(alert()).await?;
    running.until("crow", |counts| counts.delivered == 1).await?;
    assert_eq!(crow.sent(), [("p".into(), "db is down".into())]);
    Ok(())
}

#[tokio::test]
async fn devices_and_pushes_on_their_way_outlive_the_process() -> Result<()> {
    let store = Memory::new();
    let busy = Crow::new(|_| SendOutcome::Retry { reason: "busy".into(), after: None });
    let first =
        Running::with(Push::new().provider(busy.clone()), |server| server.store(store.clone())).await?;
    for device in ["a", "b", "c"] {
        first.register(device, "crow", device).await?;
    }
    first.alert("db").await?;
    first.until("crow", |counts| counts.retried >= 3).await?;
    first.server.drain().await;
    drop(first);
    let crow = Crow::willing();
    let second =
        Running::with(Push::new().provider(crow.clone()), |server| server.store(store.clone())).await?;
    second.until("crow", |counts| counts.delivered == 3).await?;
    let told = |device: &str| (device.to_owned(), "db is down no answer".to_owned());
    assert_eq!(crow.sent(), [told("a"), told("b"), told("c")]);
    Ok(())
}
