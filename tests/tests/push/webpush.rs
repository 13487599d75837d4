//! Browsers' push services.

use std::{io, time::Duration};

use dialogue::{Push, push::Vapid};
use serde_json::json;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{
    Result,
    acme::Running,
    fake::{Answer, Browser, authority},
};

const SUBJECT: &str = "mailto:ops@acme.example";

async fn start(browser: &Browser) -> Result<Running> {
    let vapid =
        Vapid::from_pem(&browser.key, SUBJECT)?.root_certificate(authority().pem())?.allow_private_hosts();
    let running = Running::start(Push::new().provider(vapid)).await?;
    register(&running, browser, "alice").await?;
    Ok(running)
}

async fn register(running: &Running, browser: &Browser, user: &str) -> Result<()> {
    let body =
        json!({ "provider": "webpush", "subscription": browser.subscription(user), "rooms": ["alerts"] });
    running.register_for(user, body).await
}

#[tokio::test]
async fn a_push_is_encrypted_signed_and_says_how_urgent_it_is() -> Result<()> {
    let browser = Browser::start().await?;
    let running = start(&browser).await?;
    let begun = std::time::Instant::now();
    running.alert("db").await?;
    let seen = browser.service.next().await?;
    assert_eq!((seen.status, seen.path.as_str()), (201, "/push/alice"));
    assert_eq!((seen.header("urgency"), seen.header("topic").len()), ("high", 32));
    let ttl: u64 = seen.header("ttl").parse()?;
    let passed = begun.elapsed().as_secs() + 1;
    assert!((3_600 - passed..=3_600).contains(&ttl), "{ttl}");
    assert!(!String::from_utf8_lossy(&seen.body).contains("db"));
    running.until("webpush", |counts| counts.delivered == 1).await
}

#[tokio::test]
async fn pages_are_told_the_public_key() -> Result<()> {
    let browser = Browser::start().await?;
    let running = start(&browser).await?;
    let (status, answer) = running.ask("alice", "GET", "/push/key", json!(null)).await?;
    assert_eq!((status, &answer["key"]), (200, &json!(browser.public_key())));
    Ok(())
}

#[tokio::test]
async fn what_is_done_for_each_answer() -> Result<()> {
    let (gone, stays, again) = ((1, 0, 0), (0, 1, 0), (0, 0, 1));
    let table = [
        (404, gone),
        (410, gone),
        (400, stays),
        (413, stays),
        (301, stays),
        (307, stays),
        (429, again),
        (401, again),
        (403, again),
        (500, again),
        (502, again),
        (503, again),
    ];
    for (status, expected) in table {
        let browser = Browser::start().await?;
        let running = start(&browser).await?;
        // A redirect that were followed would be seen here.
        let answer =
            Answer::new(status, "no").header("location", format!("{}/push/x", browser.service.url()));
        // Later than anybody looks.
        browser.service.script([answer.header("retry-after", "600")]);
        running.alert("db").await?;
        running.until("webpush", |counts| counts.forgotten + counts.rejected + counts.retried == 1).await?;
        let counts = running.counts("webpush");
        assert_eq!((counts.forgotten, counts.rejected, counts.retried), expected, "{status}");
        assert_eq!(browser.service.so_far().await.len(), 1, "{status}");
    }
    Ok(())
}

#[tokio::test]
async fn one_signature_serves_all_of_an_origin() -> Result<()> {
    let browser = Browser::start().await?;
    let running = start(&browser).await?;
    for user in 0..20 {
        register(&running, &browser, &format!("user-{user}")).await?;
    }
    running.alert("db").await?;
    running.until("webpush", |counts| counts.delivered == 21).await?;
    let seen = browser.service.so_far().await;
    let first = seen.first().map(|seen| seen.header("authorization").to_owned()).unwrap_or_default();
    // Those that began before the first was made may have made their own.
    let same = seen.iter().filter(|seen| seen.header("authorization") == first).count();
    assert!(same >= 1 && seen.len() == 21);
    running.alert("web").await?;
    running.until("webpush", |counts| counts.delivered == 42).await?;
    let headers: std::collections::HashSet<_> =
        browser.service.so_far().await.iter().map(|seen| seen.header("authorization").to_owned()).collect();
    assert_eq!(headers.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_stranger_cannot_make_the_server_talk_to_its_own_network() -> Result<()> {
    let browser = Browser::start().await?;
    let vapid = Vapid::from_pem(&browser.key, SUBJECT)?;
    let running = Running::start(Push::new().provider(vapid)).await?;
    let mut subscription = browser.subscription("mallory");
    let port = browser.service.address.port();
    for host in ["localhost", "127.0.0.1", "[::1]", "2130706433", "10.0.0.1", "169.254.169.254"] {
        subscription["endpoint"] = json!(format!("https://{host}:{port}/push/mallory"));
        let body = json!({ "provider": "webpush", "subscription": subscription, "rooms": ["alerts"] });
        assert_eq!(running.ask("mallory", "POST", "/push", body).await?.0, 400, "{host}");
    }
    Ok(())
}

#[tokio::test]
async fn only_known_hosts_if_so_wished() -> Result<()> {
    let browser = Browser::start().await?;
    let vapid = Vapid::from_pem(&browser.key, SUBJECT)?.known_hosts_only();
    let running = Running::start(Push::new().provider(vapid)).await?;
    let mut subscription = browser.subscription("alice");
    for (host, status) in [("push.example", 400), ("updates.push.services.mozilla.com", 200)] {
        subscription["endpoint"] = json!(format!("https://{host}/push/alice"));
        let body = json!({ "provider": "webpush", "subscription": subscription, "rooms": ["alerts"] });
        assert_eq!(running.ask("alice", "POST", "/push", body).await?.0, status, "{host}");
    }
    Ok(())
}

#[tokio::test]
async fn a_service_with_a_strangers_certificate_gets_nothing() -> Result<()> {
    let browser = Browser::start().await?;
    let vapid =
        Vapid::from_pem(&browser.key, SUBJECT)?.root_certificate(authority().pem())?.allow_private_hosts();
    let running = Running::start(Push::new().provider(vapid)).await?;
    let mut subscription = browser.subscription("alice");
    // The certificate is for other addresses than this one, which leads to the service.
    let other = TcpListener::bind("127.0.0.2:0").await?;
    subscription["endpoint"] = json!(format!("https://{}/push/alice", other.local_addr()?));
    let service = browser.service.address;
    let (knocked, mut knocks) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((mut from, _)) = other.accept().await {
            knocked.send_modify(|knocks| *knocks += 1);
            let mut to = TcpStream::connect(service).await?;
            // The client breaks off when it has seen the certificate.
            let _ = copy_bidirectional(&mut from, &mut to).await;
        }
        io::Result::Ok(())
    });
    let body = json!({ "provider": "webpush", "subscription": subscription, "rooms": ["alerts"] });
    running.register_for("alice", body).await?;
    running.alert("db").await?;
    running.until("webpush", |counts| counts.retried >= 1).await?;
    deadline::within(Duration::from_secs(20), "a connection", knocks.wait_for(|knocks| *knocks > 0))
        .await??;
    assert!(browser.service.so_far().await.is_empty());
    Ok(())
}
