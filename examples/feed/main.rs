//! A live feed and the progress of long jobs: `cargo run --example feed`, then open two windows.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{MethodRouter, get, post};
use dialogue::prelude::*;

/// Something new to read.
#[dialogue::event(from = server)]
pub struct NewPost {
    /// What kind of news it is, in a word.
    pub tag: String,
    /// One line.
    pub title: String,
    /// The rest.
    pub body: String,
}

/// How far a job is; of each job only the newest matters.
#[dialogue::event(latest = job, from = server)]
pub struct Progress {
    /// Which job.
    pub job: String,
    /// How many of its steps are behind it.
    pub done: u32,
    /// How many steps it has.
    pub total: u32,
    /// What it does now.
    pub note: String,
}

dialogue::rooms! {
    /// What the page shows.
    pub struct News;

    #[room(name = "Feed", sync = 20, retain(events = 500))]
    feed: [NewPost] via [sse];

    #[room(name = "Jobs", sync = 20, retain(events = 100))]
    jobs: [Progress] via [sse];
}

#[tokio::main]
async fn main() -> dialogue::Result<()> {
    let server = News::server().build().await?;
    let (poster, starter) = (server.clone(), server.clone());
    tokio::spawn(async move { write_posts(&poster).await });
    let start = async move || {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let job = format!("job-{}", 1 + STARTED.fetch_add(1, Ordering::Relaxed));
        let (server, name) = (starter.clone(), job.clone());
        tokio::spawn(async move { run_job(&server, name).await });
        (StatusCode::ACCEPTED, Json(serde_json::json!({ "job": job })))
    };
    let app = axum::Router::new()
        .route("/", file("text/html", include_str!("page/index.html")))
        .route("/feed.css", file("text/css", include_str!("page/feed.css")))
        .route("/feed.js", file("text/javascript", include_str!("page/feed.js")))
        .route("/dialogue.js", file("text/javascript", include_str!("../browser/dialogue.js")))
        .route("/links.js", file("text/javascript", include_str!("../browser/links.js")))
        .route("/jobs", post(start))
        .merge(server.router());
    let addr = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    println!("listening on http://{addr}");
    server.serve(app, addr).await
}

async fn write_posts(server: &Server<News>) -> dialogue::Result<()> {
    let mut pace = tokio::time::interval(Duration::from_secs(6));
    for line in include_str!("posts.txt").lines().cycle() {
        pace.tick().await;
        let mut parts = line.split(" | ").map(str::to_owned);
        let [tag, title, body] = [(); 3].map(|()| parts.next().unwrap_or_default());
        server.feed().trigger(NewPost { tag, title, body }).await?;
    }
    Ok(())
}

async fn run_job(server: &Server<News>, job: String) -> dialogue::Result<()> {
    let total = 200;
    let mut pace = tokio::time::interval(Duration::from_millis(40));
    for done in 0..=total {
        pace.tick().await;
        let note = if done < total { format!("indexing page {done} of {total}") } else { "finished".into() };
        server.jobs().trigger(Progress { job: job.clone(), done, total, note }).await?;
    }
    let body = format!("{job} went through {total} pages.");
    server.feed().trigger(NewPost { tag: "job".into(), title: "Search index rebuilt".into(), body }).await?;
    Ok(())
}

fn file(kind: &'static str, text: &'static str) -> MethodRouter {
    get(move || async move { ([(CONTENT_TYPE, format!("{kind}; charset=utf-8"))], text) })
}
