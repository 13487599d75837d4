//! Chromium through chromedriver, and what one does and sees on a page.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use fantoccini::{
    Client, ClientBuilder, Locator, elements::Element, error::CmdError, wd::WebDriverCompatibleCommand,
};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use url::{ParseError, Url};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How long anything that should happen may take, on a machine that has more to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// How often a page is asked.
const PACE: Duration = Duration::from_millis(40);

/// Two processors drive one test's browsers at a time.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What a browser says of its screen and its user.
#[derive(Clone, Copy)]
pub(crate) enum Look {
    Desktop,
    DarkPhone,
}

/// A chromedriver of its own; it ends with this value, and its browsers with it.
pub(crate) struct Browsers {
    driver: Child,
    port: u16,
    _turn: tokio::sync::MutexGuard<'static, ()>,
}

impl Browsers {
    pub(crate) async fn start() -> Result<Self> {
        let turn = TURN.lock().await;
        let mut tries = 0..5;
        loop {
            let mut driver = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn()?;
            let out = driver.stdout.take().ok_or("chromedriver has no output")?;
            match tokio::task::spawn_blocking(move || started(out)).await? {
                Ok(port) => return Ok(Self { driver, port, _turn: turn }),
                // The port that the system chose for IPv6 may be taken in IPv4.
                Err(_) if tries.next().is_some() => driver.wait()?,
                Err(error) => return Err(error),
            };
        }
    }

    /// A new browser with nothing in its storage.
    pub(crate) async fn open(&self, look: Look) -> Result<Page> {
        let mut args = vec![
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--lang=en-GB",
        ];
        let (scheme, width, height) = match look {
            Look::Desktop => (1, 1180, 760),
            Look::DarkPhone => (0, 360, 704),
        };
        let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
        args.push(&scheme);
        let screen =
            json!({ "deviceMetrics": { "width": width, "height": height, "pixelRatio": 2, "touch": false } });
        let options = json!({ "args": args, "mobileEmulation": screen });
        let wanted = [("goog:chromeOptions".to_owned(), options)].into_iter().collect();
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(wanted);
        let driver = format!("http://127.0.0.1:{}", self.port);
        for _ in 0..3 {
            // A browser that takes too long to start on a busy machine is given up by chromedriver, not by the test.
            if let Ok(client) = builder.connect(&driver).await {
                return Ok(Page(client));
            }
        }
        Ok(Page(builder.connect(&driver).await?))
    }

    pub(crate) async fn close(self, pages: impl IntoIterator<Item = Page>) -> Result<()> {
        for page in pages {
            page.0.close().await?;
        }
        Ok(())
    }
}

impl Drop for Browsers {
    /// Asked to shut down, chromedriver takes its browsers with it; killed, it leaves them behind.
    fn drop(&mut self) {
        if let Ok(mut driver) = TcpStream::connect(("127.0.0.1", self.port)) {
            let _ = driver.set_read_timeout(Some(PATIENCE));
            let _ =
                driver.write_all(b"GET /shutdown HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let _ = driver.read_to_end(&mut Vec::new());
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// The port that chromedriver chose.
fn started(mut out: impl Read + Send + 'static) -> Result<u16> {
    let mut said = String::new();
    let mut piece = [0; 512];
    loop {
        let length = out.read(&mut piece)?;
        said.push_str(&String::from_utf8_lossy(piece.get(..length).unwrap_or_default()));
        let port = said.split("successfully on port ").nth(1).and_then(|rest| rest.split_once('.'));
        if let Some((port, _)) = port {
            // It goes on talking, and would be ended by a pipe that nobody reads.
            std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
            return Ok(port.parse()?);
        }
        if length == 0 {
            return Err(format!("chromedriver did not start: {said}").into());
        }
    }
}

/// A browser's one page. Names are `data-testid`s.
pub(crate) struct Page(Client);

impl Page {
    pub(crate) async fn goto(&self, url: &str) -> Result<()> {
        Ok(self.0.goto(url).await?)
    }

    pub(crate) async fn reload(&self) -> Result<()> {
        Ok(self.0.refresh().await?)
    }

    /// Clicks it once that can be done.
    pub(crate) async fn click(&self, name: &str) -> Result<()> {
        self.does(name, async |element| element.click().await).await
    }

    pub(crate) async fn type_into(&self, name: &str, keys: &str) -> Result<()> {
        self.does(name, async |element| element.send_keys(keys).await).await
    }

    /// Replaces what is in a field, as a person who leaves it then.
    pub(crate) async fn fill(&self, name: &str, text: &str) -> Result<()> {
        // Control-A and what replaces it: WebDriver's `clear` leaves the field, and the page fills an empty one.
        self.type_into(name, &format!("\u{e009}a\u{e000}{text}\u{e007}")).await
    }

    /// Does something with an element once it is there and to be seen: a page may draw it anew at any time.
    async fn does(
        &self,
        name: &str,
        mut what: impl AsyncFnMut(Element) -> std::result::Result<(), CmdError>,
    ) -> Result<()> {
        eventually(name, async || {
            let done = match self.0.find(Locator::Css(&named(name))).await {
                Ok(element) => what(element).await,
                Err(error) => Err(error),
            };
            let is_early = |error: &CmdError| {
                error.is_no_such_element()
                    || error.is_stale_element_reference()
                    || error.is_element_not_interactable()
            };
            match done {
                Err(error) if !is_early(&error) => Err(error.into()),
                done => Ok(done.ok()),
            }
        })
        .await
    }

    /// Says one line after the other in the chat, by itself from now on.
    pub(crate) async fn says_at_intervals(&self, lines: &[&str], ms: u32) -> Result<()> {
        let script = "const [lines, ms] = arguments; \
            const [text, form] = ['text', 'composer'].map((name) => document.querySelector(`[data-testid=${name}]`)); \
            const say = (line) => { text.value = line; form.requestSubmit(); }; \
            lines.forEach((line, nth) => ms ? setTimeout(say, ms * nth, line) : say(line));";
        self.0.execute(script, vec![json!(lines), json!(ms)]).await?;
        Ok(())
    }

    /// What a script yields.
    pub(crate) async fn run(&self, script: &str) -> Result<serde_json::Value> {
        Ok(self.0.execute(script, vec![]).await?)
    }

    /// A command of Chromium's own debugging protocol.
    pub(crate) async fn command(
        &self,
        name: &str,
        parameters: serde_json::Value,
    ) -> Result<serde_json::Value> {
        Ok(self.0.issue_cmd(Debug(json!({ "cmd": name, "params": parameters }))).await?)
    }

    /// The texts of what matches.
    pub(crate) async fn texts(&self, css: &str) -> Result<Vec<String>> {
        let script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)";
        let texts = self.0.execute(script, vec![json!(css)]).await?;
        Ok(serde_json::from_value(texts)?)
    }

    /// Fails if anything is wider than the screen.
    pub(crate) async fn fits(&self) -> Result<()> {
        let script = "const wide = [...document.querySelectorAll('body *')] \
            .filter((e) => e.getBoundingClientRect().right > innerWidth || e.scrollWidth > innerWidth); \
            const { scrollWidth } = document.documentElement; \
            return [...wide.map((e) => e.outerHTML), ...(scrollWidth > innerWidth ? ['the page'] : [])]";
        let wide = self.0.execute(script, vec![]).await?;
        if wide == json!([]) { Ok(()) } else { Err(format!("wider than the screen: {wide}").into()) }
    }

    /// Puts another page's picture beside the chat, as the phone that it was taken on.
    pub(crate) async fn holds_beside(&self, picture: &Path) -> Result<()> {
        let data = BASE64_STANDARD.encode(std::fs::read(picture)?);
        let script = "document.body.style.paddingRight = '436px'; \
            const phone = document.body.appendChild(new Image()); \
            phone.style.cssText = 'position: fixed; top: 20px; right: 28px; width: 376px; border: 8px solid #0b0c10; \
                border-radius: 40px; box-shadow: 0 0 0 1px #3a3d48, 0 24px 60px rgb(40 35 20 / 28%)'; \
            phone.src = `data:image/png;base64,${arguments[0]}`; \
            document.activeElement.blur(); \
            return phone.decode();";
        self.0.execute(script, vec![json!(data)]).await?;
        Ok(())
    }

    /// Waits until these are the texts of all messages, in this order.
    pub(crate) async fn says(&self, texts: &[&str]) -> Result<()> {
        self.sees("message-text", &texts.join("\n")).await
    }

    /// Waits until the elements of that name show this text, each on a line of its own.
    pub(crate) async fn sees(&self, name: &str, text: &str) -> Result<()> {
        self.waits(&format!("{name} shows {text:?}"), name, |shown| shown == text).await
    }

    /// Waits until the elements of that name show this text somewhere.
    pub(crate) async fn sees_part(&self, name: &str, text: &str) -> Result<()> {
        self.waits(&format!("{name} shows {text:?} somewhere"), name, |shown| shown.contains(text)).await
    }

    /// Waits until the elements of that name show this text, below whatever is newer.
    pub(crate) async fn sees_after(&self, name: &str, text: &str) -> Result<()> {
        self.waits(&format!("{name} shows {text:?} last"), name, |shown| shown.ends_with(text)).await
    }

    /// Waits until as many elements match.
    pub(crate) async fn counts(&self, css: &str, count: usize) -> Result<()> {
        eventually(&format!("{count} of {css}"), async || Ok((self.count(css).await? == count).then_some(())))
            .await
    }

    /// Waits until an element matches.
    pub(crate) async fn shows(&self, css: &str) -> Result<()> {
        eventually(css, async || Ok((self.count(css).await? > 0).then_some(()))).await
    }

    /// Waits until no element matches.
    pub(crate) async fn leaves(&self, css: &str) -> Result<()> {
        self.counts(css, 0).await
    }

    /// Takes a picture into `tests/.pictures`.
    pub(crate) async fn picture(&self, name: &str) -> Result<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".pictures");
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{name}.png"));
        self.settles().await?;
        std::fs::write(&path, self.0.screenshot().await?)?;
        Ok(path)
    }

    /// Waits until nothing that ends moves any more.
    async fn settles(&self) -> Result<()> {
        let moving = "return document.getAnimations().filter(({ effect }) => effect.getTiming().iterations === 1 \
            && effect.getComputedTiming().progress !== null).length";
        eventually("the page comes to rest", async || {
            Ok((self.0.execute(moving, vec![]).await? == 0).then_some(()))
        })
        .await
    }

    async fn count(&self, css: &str) -> Result<usize> {
        Ok(self.0.find_all(Locator::Css(css)).await?.len())
    }

    async fn waits(&self, what: &str, name: &str, is: impl Fn(&str) -> bool) -> Result<()> {
        let mut last = String::new();
        let done = eventually(what, async || {
            last = self.texts(&named(name)).await?.join("\n");
            Ok(is(&last).then_some(()))
        })
        .await;
        done.map_err(|error| format!("{error}; it shows {last:?}").into())
    }
}

/// See [`Page::command`].
#[derive(Debug)]
struct Debug(serde_json::Value);

impl WebDriverCompatibleCommand for Debug {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> std::result::Result<Url, ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.0.to_string()))
    }
}

fn named(name: &str) -> String {
    format!("[data-testid={name}]")
}

/// Asks again until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let asking = async {
        loop {
            if let Some(answer) = ask().await? {
                return Ok(answer);
            }
            tokio::time::sleep(PACE).await;
        }
    };
    deadline::within(PATIENCE, what, asking).await?
}
