//! The check of the `Origin` header: an allow-list of the web pages whose requests and WebSocket handshakes are
//! accepted (RFC 6454; RFC 6455, section 10.2).

use std::{collections::HashSet, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// The allow-list of origins, and the refusals that were logged.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    allowed: AllowedOrigins,
    /// Allows clients that hide their origin.
    allows_hidden: bool,
    logged: Mutex<LoggedRefusals>,
}

#[derive(Debug, Default)]
enum AllowedOrigins {
    /// Only the server's own origin.
    #[default]
    Same,
    /// The listed origins, such as `https://example.com`, and the server's own.
    Listed(Vec<String>),
    /// Every origin that is not hidden.
    Any,
}

/// The pairs of an origin and a host whose refusal was logged. Clients choose their origin, so the set is bounded; a
/// full set is cleared after an interval, so that made-up origins can't suppress the logging of others for ever.
#[derive(Debug, Default)]
struct LoggedRefusals {
    pairs: HashSet<(String, String)>,
    since: Option<Instant>,
}

/// The maximum number of remembered pairs.
const MAX_LOGGED_PAIRS: usize = 256;
/// The time after which a full set of pairs is cleared.
const LOG_RESET_INTERVAL: Duration = Duration::from_secs(10 * 60);

impl Origins {
    /// Also allows pages of `origin`.
    pub(crate) fn allow_origin(&mut self, origin: String) {
        match &mut self.allowed {
            AllowedOrigins::Listed(listed) => listed.push(origin),
            allowed => *allowed = AllowedOrigins::Listed(vec![origin]),
        }
    }

    /// Allows all pages that don't hide their origin.
    pub(crate) fn allow_any(&mut self) {
        self.allowed = AllowedOrigins::Any;
    }

    /// Also allows clients that hide their origin.
    pub(crate) fn allow_hidden(&mut self) {
        self.allows_hidden = true;
    }

    /// Returns whether requests from a page of `origin` are allowed; `hosts` are the names by which the request
    /// addresses the server.
    pub(crate) fn allows<H: AsRef<str>>(&self, origin: &str, hosts: &[H]) -> bool {
        // `null` is sent by every page that hides its origin (RFC 6454, section 7.3), own and foreign ones alike.
        if is_hidden(origin) {
            return self.allows_hidden;
        }
        let Some(own) = OriginHost::of(origin) else { return false };
        let is_own = || hosts.iter().any(|host| own.is(host.as_ref()));
        match &self.allowed {
            AllowedOrigins::Same => is_own(),
            AllowedOrigins::Listed(listed) => {
                is_own() || listed.iter().any(|listed| OriginHost::of(listed) == Some(own))
            }
            AllowedOrigins::Any => true,
        }
    }

    /// Returns whether this is the first refusal of `origin` at `host`, which is to be logged.
    pub(crate) fn is_first_refusal(&self, origin: &str, host: &str) -> bool {
        let mut logged = self.logged.lock();
        let since = *logged.since.get_or_insert_with(Instant::now);
        if logged.pairs.len() >= MAX_LOGGED_PAIRS && since.elapsed() > LOG_RESET_INTERVAL {
            *logged = LoggedRefusals { pairs: HashSet::new(), since: Some(Instant::now()) };
        }
        logged.pairs.len() < MAX_LOGGED_PAIRS && logged.pairs.insert((origin.to_owned(), host.to_owned()))
    }

    /// Returns the first listed origin that is malformed, which no browser would ever send.
    pub(crate) fn invalid_entry(&self) -> Option<&str> {
        let AllowedOrigins::Listed(listed) = &self.allowed else { return None };
        listed.iter().map(String::as_str).find(|origin| OriginHost::of(origin).is_none())
    }
}

/// Returns whether a client hides its origin: pages from a file, in a sandbox, or in some native shells.
pub(crate) fn is_hidden(origin: &str) -> bool {
    matches!(origin, "null" | "file://")
}

/// The scheme and host of an origin, with the port unless it is the scheme's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OriginHost<'a> {
    scheme: &'a str,
    host: &'a str,
}

impl<'a> OriginHost<'a> {
    /// Parses `scheme://host:port` as browsers serialise it: in lower case, without a path.
    fn of(origin: &'a str) -> Option<Self> {
        let (scheme, host) = origin.split_once("://")?;
        let is_lower = |c: char| c.is_ascii_graphic() && !c.is_ascii_uppercase();
        let is_in_scheme = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
        let is_valid = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.chars().all(is_in_scheme)
            && !host.is_empty()
            && host.chars().all(|c| is_lower(c) && !"/?#@\\,*".contains(c));
        is_valid.then(|| OriginHost { scheme, host: without_default_port(scheme, host) })
    }

    /// Returns whether `host`, the value of a `Host` header, is this host.
    fn is(&self, host: &str) -> bool {
        self.host.eq_ignore_ascii_case(without_default_port(self.scheme, host))
    }
}

/// Removes the default port of `scheme` from `host`. RFC 6454 (section 4) and RFC 9110 (section 4.2.3) treat it as
/// equal to none.
fn without_default_port<'a>(scheme: &str, host: &'a str) -> &'a str {
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

    fn allowing(listed: &[&str]) -> Origins {
        let mut origins = Origins::default();
        listed.iter().for_each(|origin| origins.allow_origin((*origin).to_owned()));
        origins
    }

    fn any() -> Origins {
        let mut origins = Origins::default();
        origins.allow_any();
        origins
    }

    #[test]
    fn the_servers_own_origin_is_always_allowed() {
        for origins in [Origins::default(), allowing(&["https://a.example"]), any()] {
            assert!(origins.allows("http://acme.example:8080", &HOST));
        }
    }

    #[test]
    fn a_foreign_origin_is_allowed_if_it_is_listed_exactly() {
        let origins = allowing(&["https://a.example"]);
        assert!(origins.allows("https://a.example", &HOST));
        for foreign in
            ["http://a.example", "https://a.example:8443", "https://b.example", "https://a.example.b"]
        {
            assert!(!origins.allows(foreign, &HOST), "{foreign}");
            assert!(any().allows(foreign, &HOST), "{foreign}");
        }
    }

    #[test]
    fn a_default_port_equals_no_port() {
        let same = Origins::default();
        for (origin, host) in [
            ("https://acme.example", "acme.example:443"),
            ("https://acme.example:443", "acme.example"),
            ("https://acme.example", "ACME.example"),
            ("http://acme.example", "acme.example:80"),
            ("http://[::1]", "[::1]:80"),
        ] {
            assert!(same.allows(origin, &[host]), "{origin} at {host}");
            assert!(allowing(&[origin]).allows(origin, &HOST), "{origin}");
        }
        for (origin, host) in [
            ("https://acme.example", "acme.example:80"),
            ("http://acme.example", "acme.example:443"),
            ("https://acme.example:8443", "acme.example:443"),
            ("https://acme.example:8443", "acme.example"),
            ("app://acme.example", "acme.example:80"),
            ("http://acme.example", ":80"),
        ] {
            assert!(!same.allows(origin, &[host]), "{origin} at {host}");
        }
        assert!(allowing(&["https://a.example:443"]).allows("https://a.example", &HOST));
        assert!(!allowing(&["https://a.example:80"]).allows("https://a.example", &HOST));
    }

    #[test]
    fn a_malformed_origin_is_never_allowed() {
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
            let listed = allowing(&[bad]);
            for origins in [&Origins::default(), &listed, &any()] {
                assert!(!origins.allows(bad, &[bad]), "{bad:?}");
            }
            assert_eq!(listed.invalid_entry(), Some(bad));
        }
    }

    #[test]
    fn hidden_origins_have_a_setting_of_their_own() {
        let mut origins = allowing(&["https://a.example"]);
        origins.allow_hidden();
        for hidden in ["null", "file://"] {
            assert!(origins.allows(hidden, &HOST) && !any().allows(hidden, &HOST), "{hidden}");
        }
        assert!(!origins.allows("https://b.example", &HOST) && !origins.allows("nonsense", &HOST));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_logged_once_and_made_up_origins_do_not_suppress_others_for_ever() {
        let origins = Origins::default();
        assert!(
            origins.is_first_refusal("https://a.example", "b")
                && !origins.is_first_refusal("https://a.example", "b")
        );
        assert!(origins.is_first_refusal("https://a.example", "c"));
        let logged = (0..1_000).filter(|n| origins.is_first_refusal(&format!("https://{n}.example"), "b"));
        assert_eq!(logged.count(), MAX_LOGGED_PAIRS - 2);
        tokio::time::advance(2 * LOG_RESET_INTERVAL).await;
        assert!(origins.is_first_refusal("https://z.example", "b"));
    }
}
