//! A live feed and the progress of long jobs: `cargo run -p feed`, then open two windows.

mod page;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use std::time::Duration;

use axum::{Json, http::StatusCode, routing::post};
use dialogue::prelude::*;
use serde_json::json;

/// Something new to read.
#[dialogue::event(from = server)]
struct NewPost {
    /// What kind of news it is, in a word.
    tag: String,
    title: String,
    body: String,
}

/// How far a job is; of each job only the newest matters.
#[dialogue::event(latest = job, from = server)]
struct Progress {
    job: String,
    done: u32,
    total: u32,
    /// What it does now.
    note: String,
}

dialogue::rooms! {
    #[room(name = "Feed", sync = 20, retain(events = 500))]
    feed: [NewPost] via [sse];

    #[room(name = "Jobs", sync = 20, retain(events = 100))]
    jobs: [Progress] via [sse];
}

#[tokio::main]
async fn main() -> dialogue::Result<()> {
    let server = Rooms::server().build().await?;
    tokio::spawn(write_posts(server.feed()));
    let (feed, jobs) = (server.feed(), server.jobs());
    let started = Arc::new(AtomicU32::new(0));
    let start = async move || {
        let job = format!("job-{}", 1 + started.fetch_add(1, Ordering::Relaxed));
        tokio::spawn(run_job(feed.clone(), jobs.clone(), job.clone()));
        (StatusCode::ACCEPTED, Json(json!({ "job": job })))
    };
    let app = page::routes().route("/jobs", post(start)).merge(server.router());

    let address = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let listening = server.listen(address).await?;
    println!("listening on http://{}", listening.local_addr());
    listening.serve(app).await
}

async fn write_posts(feed: RoomHandle<Feed>) -> Result<(), Refusal> {
    let mut pace = tokio::time::interval(Duration::from_secs(6));
    for (line, posted) in include_str!("posts.txt").lines().cycle().zip(0..) {
        // The first few at once, so that there is something to read.
        if posted > 3 {
            pace.tick().await;
        }
        let mut parts = line.split(" | ").map(str::to_owned);
        let [tag, title, body] = [(); 3].map(|()| parts.next().unwrap_or_default());
        feed.trigger(NewPost { tag, title, body }).await?;
    }
    Ok(())
}

async fn run_job(feed: RoomHandle<Feed>, jobs: RoomHandle<Jobs>, job: String) -> Result<(), Refusal> {
    let total = 200;
    let mut pace = tokio::time::interval(Duration::from_millis(40));
    for done in 0..=total {
        pace.tick().await;
        let note = if done < total { format!("indexing page {done} of {total}") } else { "finished".into() };
        jobs.trigger(Progress { job: job.clone(), done, total, note }).await?;
    }
    let body = format!("{job} went through {total} pages.");
    feed.trigger(NewPost { tag: "job".into(), title: "Search index rebuilt".into(), body }).await?;
    Ok(())
}
