//! Alerts that find people who are not looking: `cargo run -p alerts`, open the page, ask to be notified, close it.
//! Then, in another terminal, `cargo run -p alerts -- raise db "no answer since 12:04"`.
//!
//! Needs OpenSSL's headers, since the crate that encrypts for browsers links OpenSSL: `apt install libssl-dev pkg-config` on
//! Debian, `brew install openssl` on macOS; and a C compiler, which the crate `ring` is built with.
//!
//! `VAPID_KEY` is the key that browsers know the server by, in PEM; without it, the server makes one for as long as it runs.

mod key;
mod page;
mod raise;

use dialogue::{Push, push::Vapid};

/// A service is down.
#[dialogue::event(
    from = server,
    push(
        title = "{service} is down",
        body = "{detail}",
        icon = "/icon.svg",
        url = "/#{service}",
        urgency = high,
        ttl = 1h,
        collapse = service
    )
)]
struct Alert {
    #[validate(length(min = 1, max = 60))]
    service: String,
    #[validate(length(max = 500))]
    detail: String,
}

/// It is up again, which wakes nobody.
#[dialogue::event(
    from = server,
    push(title = "{service} is up again", body = "", url = "/#{service}", urgency = low, ttl = 1h, collapse = service)
)]
struct Recovered {
    #[validate(length(min = 1, max = 60))]
    service: String,
}

dialogue::rooms! {
    /// What is down, and what is up again.
    #[room(name = "Alerts", sync = 20)]
    alerts: [Alert, Recovered] via [webpush, websocket];
}

/// Whom a push service's people can write to.
const CONTACT: &str = "mailto:ops@acme.example";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let server_key = std::env::var("SERVER_KEY").unwrap_or_else(|_| "a key of this example alone".into());
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.is_empty() {
        return raise::run(&address, &server_key, &arguments);
    }
    let vapid = Vapid::from_pem(&key::from_env()?, CONTACT)?;
    let server = Rooms::server().server_key(server_key).push(Push::new().provider(vapid)).build().await?;
    let app = page::routes().merge(server.router());

    let listening = server.listen(address).await?;
    println!("listening on http://{}", listening.local_addr());
    listening.serve(app).await?;
    Ok(())
}
