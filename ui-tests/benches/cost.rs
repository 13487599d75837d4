//! What a declaration costs to compile: 20 rooms of 20 events against the same types written by hand.
//!
//! `cargo bench --profile dev -p dialogue-ui-tests --bench cost [RUNS]` checks each package in turn, `RUNS` (7) times, with
//! warm dependencies and without incremental compilation, and prints medians. By hand means serde's derives and one
//! tagged enum for each room.

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

const ROOMS: usize = 20;
const EVENTS: usize = 20;

fn main() -> io::Result<()> {
    let runs = env::args().skip(1).find_map(|text| text.parse().ok()).unwrap_or(7);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cost");
    let packages = [("derives", derives()), ("by-hand", by_hand()), ("rooms", rooms(""))];
    let packages: Vec<Package> = packages
        .into_iter()
        .chain([("rooms-with-middleware", middleware() + &rooms(" with [Quiet, Loud]"))])
        .map(|(name, code)| Package::write(&root, &folder, name, &code))
        .collect::<io::Result<_>>()?;
    let members: Vec<String> = packages.iter().map(|package| format!("{:?}", package.name)).collect();
    fs::write(
        folder.join("Cargo.toml"),
        format!("[workspace]\nresolver = \"3\"\nmembers = [{}]\n", members.join(", ")),
    )?;
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    for package in &packages {
        package.check(&folder)?;
    }
    let mut times = vec![Vec::new(); packages.len()];
    for _ in 0..runs {
        for (package, times) in packages.iter().zip(&mut times) {
            times.push(package.check(&folder)?);
        }
    }
    let medians: Vec<Duration> = times.into_iter().map(median).collect();
    println!("{ROOMS} rooms of {EVENTS} events, `cargo check`, median of {runs}");
    for (package, time) in packages.iter().zip(&medians) {
        println!("{:24} {:.2} s", package.name, time.as_secs_f64());
    }
    println!("rooms! / by hand         {:.2}", medians[2].as_secs_f64() / medians[1].as_secs_f64());
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

struct Package {
    name: &'static str,
    code: PathBuf,
}

impl Package {
    fn write(root: &Path, folder: &Path, name: &'static str, code: &str) -> io::Result<Package> {
        let package = folder.join(name);
        fs::create_dir_all(package.join("src"))?;
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n\
             dialogue = {{ path = {:?}, features = [\"client\"] }}\n\
             serde = {{ version = \"1\", features = [\"derive\"] }}\n",
            root.join("dialogue")
        );
        fs::write(package.join("Cargo.toml"), manifest)?;
        fs::write(package.join("src/lib.rs"), code)?;
        Ok(Package { name, code: package.join("src/lib.rs") })
    }

    /// How long a check of this package alone takes.
    fn check(&self, folder: &Path) -> io::Result<Duration> {
        fs::write(&self.code, fs::read(&self.code)?)?;
        let start = Instant::now();
        let status = Command::new(env!("CARGO"))
            .args(["check", "--quiet", "--offline", "--package", self.name])
            .current_dir(folder)
            .env("CARGO_TARGET_DIR", folder.join("target"))
            .env("CARGO_INCREMENTAL", "0")
            .status()?;
        let time = start.elapsed();
        match status.success() {
            true => Ok(time),
            false => Err(io::Error::other(format!("`{}` does not compile", self.name))),
        }
    }
}

/// A module for each room, `body` made of its number and its events' names.
fn modules(attribute: &str, body: impl Fn(usize, &[String]) -> String) -> String {
    let mut code = String::new();
    for room in 0..ROOMS {
        let names: Vec<String> = (0..EVENTS).map(|event| format!("Event{room}x{event}")).collect();
        for name in &names {
            let _ = writeln!(code, "{attribute}\npub struct {name} {{ pub text: String, pub count: u64 }}");
        }
        code += &body(room, &names);
    }
    code
}

fn derives() -> String {
    modules("#[derive(serde::Serialize, serde::Deserialize)]", |_, _| String::new())
}

fn by_hand() -> String {
    modules("#[derive(serde::Serialize, serde::Deserialize)]", |room, names| {
        let variants: String = names.iter().map(|name| format!("    {name}({name}),\n")).collect();
        format!(
            "#[derive(serde::Serialize, serde::Deserialize)]\n#[serde(tag = \"event\", content = \"data\")]\n\
             pub enum Room{room}Event {{\n{variants}}}\n"
        )
    })
}

fn rooms(clause: &str) -> String {
    let list = |room: usize, names: &[String]| {
        format!("room{room}: [{}] via [websocket, sse]{clause};\n", names.join(", "))
    };
    let rooms: String = (0..ROOMS)
        .map(|room| list(room, &(0..EVENTS).map(|event| format!("Event{room}x{event}")).collect::<Vec<_>>()))
        .collect();
    modules("#[dialogue::event]", |_, _| String::new())
        + &format!("dialogue::rooms! {{\npub struct Acme;\n{rooms}}}\n")
}

fn middleware() -> String {
    let one = |name: &str| {
        format!(
            "#[derive(Default)]\npub struct {name};\n\
             impl<R: dialogue::Room, E: dialogue::Event> dialogue::Middleware<R, E> for {name} {{\n\
             async fn handle(&self, cx: &dialogue::Cx<R>, event: E, next: impl dialogue::Next<R, E>) -> dialogue::Flow {{\n\
             next.run(cx, event).await\n}}\n}}\n"
        )
    };
    one("Quiet") + &one("Loud")
}
