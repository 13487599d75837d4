//! From which pages browsers may come.

use std::{collections::HashSet, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// The allow-list of origins, and which refusals the log has had.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    allowed: Allowed,
    /// Lets in clients that hide their origin.
    hidden: bool,
    logged: Mutex<Logged>,
}

#[derive(Debug, Default)]
enum Allowed {
    /// Those that this server served.
    #[default]
    Same,
    /// These, such as `https://example.com`, and those that this server served.
    These(Vec<String>),
    /// All that have one.
    Any,
}

/// Pairs of an origin and a host that the log has had. Origins are clients' to choose, so the set is bounded, and it is
/// forgotten after a while so that inventions can't keep the log from others for ever.
#[derive(Debug, Default)]
struct Logged {
    pairs: HashSet<(String, String)>,
    since: Option<Instant>,
}

/// Pairs that are remembered at once.
const MOST_LOGGED: usize = 256;
/// How long a full set of pairs is kept.
const LOGGED_FOR: Duration = Duration::from_secs(10 * 60);

impl Origins {
    /// Also lets in pages of `origin`.
    pub(crate) fn list(&mut self, origin: String) {
        match &mut self.allowed {
            Allowed::These(listed) => listed.push(origin),
            allowed => *allowed = Allowed::These(vec![origin]),
        }
    }

    /// Lets in all pages that say where they are from.
    pub(crate) fn list_all(&mut self) {
        self.allowed = Allowed::Any;
    }

    /// Also lets in clients that hide where they are from.
    pub(crate) fn list_hidden(&mut self) {
        self.hidden = true;
    }

    /// Returns whether a page of `origin` may talk to a server that it calls by one of `hosts`.
    pub(crate) fn allow<H: AsRef<str>>(&self, origin: &str, hosts: &[H]) -> bool {
        // `null` is every page that hides where it is from (RFC 6454, section 7.3): it can't be told from a stranger's.
        if is_hidden(origin) {
            return self.hidden;
        }
        let Some(own) = Host::of(origin) else { return false };
        let is_own = || hosts.iter().any(|host| own.is(host.as_ref()));
        match &self.allowed {
            Allowed::Same => is_own(),
            Allowed::These(listed) => is_own() || listed.iter().any(|listed| Host::of(listed) == Some(own)),
            Allowed::Any => true,
        }
    }

    /// Returns whether the refusal of `origin` at `host` is to be logged: the first time only.
    pub(crate) fn is_news(&self, origin: &str, host: &str) -> bool {
        let mut logged = self.logged.lock();
        let since = *logged.since.get_or_insert_with(Instant::now);
        if logged.pairs.len() >= MOST_LOGGED && since.elapsed() > LOGGED_FOR {
            *logged = Logged { pairs: HashSet::new(), since: Some(Instant::now()) };
        }
        logged.pairs.len() < MOST_LOGGED && logged.pairs.insert((origin.to_owned(), host.to_owned()))
    }

    /// The first of those listed that no browser ever sends.
    pub(crate) fn unheard_of(&self) -> Option<&str> {
        let Allowed::These(listed) = &self.allowed else { return None };
        listed.iter().map(String::as_str).find(|origin| Host::of(origin).is_none())
    }
}

/// Returns whether a client hides its origin: pages from a file, in a sandbox, or in some native shells.
pub(crate) fn is_hidden(origin: &str) -> bool {
    matches!(origin, "null" | "file://")
}

/// Scheme and host of an origin, with the port where it isn't the scheme's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Host<'a> {
    scheme: &'a str,
    host: &'a str,
}

impl<'a> Host<'a> {
    /// Reads `scheme://host:port` as browsers write it: in lower case, and with nothing after.
    fn of(origin: &'a str) -> Option<Self> {
        let (scheme, host) = origin.split_once("://")?;
        let lower = |c: char| c.is_ascii_graphic() && !c.is_ascii_uppercase();
        let in_scheme = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
        let good = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.chars().all(in_scheme)
            && !host.is_empty()
            && host.chars().all(|c| lower(c) && !"/?#@\\,*".contains(c));
        good.then(|| Host { scheme, host: portless(scheme, host) })
    }

    /// Returns whether `host`, as a `Host` header names it, is this one.
    fn is(&self, host: &str) -> bool {
        self.host.eq_ignore_ascii_case(portless(self.scheme, host))
    }
}

/// `host` without the port that `scheme` has by default: RFC 6454 (section 4) and RFC 9110 (section 4.2.3) take it for
/// the same as none.
fn portless<'a>(scheme: &str, host: &'a str) -> &'a str {
    let port = match scheme {
        "http" | "ws" => ":80",
        "https" | "wss" => ":443",
        _ => return host,
    };
    host.strip_suffix(port).filter(|host| !host.is_empty()).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: [&str; 1] = ["acme.example:8080"];

    fn listing(listed: &[&str]) -> Origins {
        let mut origins = Origins::default();
        listed.iter().for_each(|origin| origins.list((*origin).to_owned()));
        origins
    }

    fn any() -> Origins {
        let mut origins = Origins::default();
        origins.list_all();
        origins
    }

    #[test]
    fn a_page_of_the_server_may_whatever_is_listed() {
        for origins in [Origins::default(), listing(&["https://a.example"]), any()] {
            assert!(origins.allow("http://acme.example:8080", &HOST));
        }
    }

    #[test]
    fn a_foreign_page_may_if_it_is_listed_to_the_letter() {
        let origins = listing(&["https://a.example"]);
        assert!(origins.allow("https://a.example", &HOST));
        for foreign in
            ["http://a.example", "https://a.example:8443", "https://b.example", "https://a.example.b"]
        {
            assert!(!origins.allow(foreign, &HOST), "{foreign}");
            assert!(any().allow(foreign, &HOST), "{foreign}");
        }
    }

    #[test]
    fn the_port_of_a_scheme_is_as_good_as_none() {
        let same = Origins::default();
        for (origin, host) in [
            ("https://acme.example", "acme.example:443"),
            ("https://acme.example:443", "acme.example"),
            ("https://acme.example", "ACME.example"),
            ("http://acme.example", "acme.example:80"),
            ("http://[::1]", "[::1]:80"),
        ] {
            assert!(same.allow(origin, &[host]), "{origin} at {host}");
            assert!(listing(&[origin]).allow(origin, &HOST), "{origin}");
        }
        for (origin, host) in [
            ("https://acme.example", "acme.example:80"),
            ("http://acme.example", "acme.example:443"),
            ("https://acme.example:8443", "acme.example:443"),
            ("https://acme.example:8443", "acme.example"),
            ("app://acme.example", "acme.example:80"),
            ("http://acme.example", ":80"),
        ] {
            assert!(!same.allow(origin, &[host]), "{origin} at {host}");
        }
        assert!(listing(&["https://a.example:443"]).allow("https://a.example", &HOST));
        assert!(!listing(&["https://a.example:80"]).allow("https://a.example", &HOST));
    }

    #[test]
    fn what_is_no_origin_may_not_even_if_it_is_listed() {
        for bad in [
            "",
            "null",
            "*",
            "nonsense",
            "https://",
            "file://",
            "://a",
            "https://a/",
            "https://u@a",
            "https://A",
            "a b://c",
        ] {
            let listed = listing(&[bad]);
            for origins in [&Origins::default(), &listed, &any()] {
                assert!(!origins.allow(bad, &[bad]), "{bad:?}");
            }
            assert_eq!(listed.unheard_of(), Some(bad));
        }
    }

    #[test]
    fn clients_that_hide_their_origin_may_by_a_setting_of_their_own() {
        let mut origins = listing(&["https://a.example"]);
        origins.list_hidden();
        for hidden in ["null", "file://"] {
            assert!(origins.allow(hidden, &HOST) && !any().allow(hidden, &HOST), "{hidden}");
        }
        assert!(!origins.allow("https://b.example", &HOST) && !origins.allow("nonsense", &HOST));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pair_is_news_once_and_inventions_do_not_hide_others_for_ever() {
        let origins = Origins::default();
        assert!(origins.is_news("https://a.example", "b") && !origins.is_news("https://a.example", "b"));
        assert!(origins.is_news("https://a.example", "c"));
        let news = (0..1_000).filter(|n| origins.is_news(&format!("https://{n}.example"), "b"));
        assert_eq!(news.count(), MOST_LOGGED - 2);
        tokio::time::advance(2 * LOGGED_FOR).await;
        assert!(origins.is_news("https://z.example", "b"));
    }
}
