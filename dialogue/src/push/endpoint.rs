//! Which of the URLs that strangers name may be sent to.
//!
//! A subscription's endpoint is a stranger's text. It must not make the server talk to what only the server can reach: so
//! it is `https`, its host is no private address, and the name resolves to none when the connection is made, which is when
//! it counts: an answer that changes between a check and the connection changes nothing.

use std::{
    error::Error,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// Which hosts there may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Hosts {
    /// Those of public addresses.
    #[default]
    Public,
    /// The push services of the browsers there are.
    Known,
    /// All, those in a private network and on this machine too.
    Any,
}

/// Push services of browsers: hosts, and (with a leading dot) domains.
const KNOWN: &[&str] = &[
    "fcm.googleapis.com",
    "jmt17.google.com",
    "updates.push.services.mozilla.com",
    ".push.services.mozilla.com",
    ".notify.windows.com",
    "web.push.apple.com",
    ".push.apple.com",
];

/// Bytes of an endpoint.
const LONGEST: usize = 2_048;

impl Hosts {
    /// The endpoint as a URL that may be sent to, as far as that can be told without asking for its addresses.
    pub(super) fn check(self, endpoint: &str) -> Result<Url, &'static str> {
        if endpoint.len() > LONGEST {
            return Err("the endpoint is longer than 2048 bytes");
        }
        let url = Url::parse(endpoint).map_err(|_| "the endpoint is no URL")?;
        if url.scheme() != "https" || !url.username().is_empty() || url.password().is_some() {
            return Err("the endpoint is an https URL without a user");
        }
        let host = host(&url);
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        match self {
            Hosts::Any => Ok(url),
            Hosts::Known if is_known(&url) => Ok(url),
            Hosts::Known => Err("the endpoint is at no push service that is known here"),
            Hosts::Public if host == "localhost" || host.ends_with(".localhost") => Err(PRIVATE),
            Hosts::Public if address.is_some_and(|address| !is_public(address)) => Err(PRIVATE),
            Hosts::Public => Ok(url),
        }
    }

    /// Whether a connection to `address` may be made.
    fn allow(self, address: IpAddr) -> bool {
        self == Hosts::Any || is_public(address)
    }
}

/// Returns whether a URL is at a push service of the browsers there are.
pub(super) fn is_known(url: &Url) -> bool {
    let host = host(url);
    KNOWN.iter().any(|known| host == *known || known.starts_with('.') && host.ends_with(known))
}

/// Returns whether an origin is a push service of the browsers there are, at the port that they have: at any other, a
/// stranger could name as many as there are ports, none of which answers.
pub(super) fn is_known_origin(origin: &str) -> bool {
    Url::parse(origin).is_ok_and(|url| url.scheme() == "https" && url.port().is_none() && is_known(&url))
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default().trim_end_matches('.')
}

const PRIVATE: &str = "the endpoint's address is not a public one";

/// Resolves names to addresses that may be connected to.
#[derive(Debug)]
pub(super) struct Resolver(pub(super) Hosts);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let hosts = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| hosts.allow(address.ip())).collect();
            if allowed.is_empty() {
                return Err(NotPublic.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// A name has no address that may be connected to.
#[derive(Debug)]
pub(super) struct NotPublic;

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PRIVATE)
    }
}

impl Error for NotPublic {}

impl NotPublic {
    /// Whether `error` comes of it.
    pub(super) fn caused(error: &(dyn Error + 'static)) -> bool {
        let mut next = Some(error);
        while let Some(error) = next {
            if error.is::<NotPublic>() {
                return true;
            }
            next = error.source();
        }
        false
    }
}

/// Whether an address is one of the public internet's: in none of the special blocks of RFC 6890 and its like.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        // "This network", shared (RFC 6598), protocol assignments, 6to4 relays, benchmarks, reserved.
        || a == 0
        || a == 100 && (64..128).contains(&b)
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
        || a == 198 && (18..20).contains(&b)
        || a >= 240)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b) {
        // An IPv4 address in other clothes: mapped (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC 3056).
        (0, 0) if (c, d, e, f) == (0, 0, 0, 0xffff) => embedded(g, h),
        (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => embedded(g, h),
        (0x2002, _) => embedded(b, c),
        // Protocol assignments, Teredo among them, and documentation.
        (0x2001, 0..0x200 | 0xdb8) => false,
        (0x3fff, 0..0x1000) => false,
        // Global unicast is this and nothing else (RFC 4291, section 2.4).
        _ => a & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_in_all_their_clothes() {
        let private = [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "192.0.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
            "::127.0.0.1",
            "fec0::1",
        ];
        for address in private {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in ["8.8.8.8", "142.250.1.1", "2607:f8b0::1", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn origins_of_browsers_services_are_at_one_port() {
        for origin in ["https://fcm.googleapis.com", "https://a.push.services.mozilla.com"] {
            assert!(is_known_origin(origin), "{origin}");
        }
        for origin in
            ["https://fcm.googleapis.com:8443", "http://fcm.googleapis.com", "https://evil.example", "null"]
        {
            assert!(!is_known_origin(origin), "{origin}");
        }
    }

    #[test]
    fn endpoints_are_https_and_public() {
        let good =
            ["https://fcm.googleapis.com/fcm/send/x", "https://push.example:8443/a?b", "https://8.8.8.8/x"];
        for endpoint in good {
            assert!(Hosts::Public.check(endpoint).is_ok(), "{endpoint}");
        }
        let bad = [
            "",
            "x",
            "http://push.example/x",
            "https://u@push.example/x",
            "https://u:p@push.example/x",
            "https://localhost/x",
            "https://a.localhost./x",
            "https://127.0.0.1/x",
            "https://[::1]/x",
            // As browsers read addresses, the library does: one number, octal, hexadecimal.
            "https://2130706433/x",
            "https://0177.0.0.1/x",
            "https://0x7f.1/x",
            "file:///etc/passwd",
        ];
        for endpoint in bad {
            assert!(Hosts::Public.check(endpoint).is_err(), "{endpoint}");
        }
        assert!(
            Hosts::Any.check("https://localhost:1/x").is_ok()
                && Hosts::Any.check("http://localhost/x").is_err()
        );
    }

    #[test]
    fn known_services() {
        for endpoint in [
            "https://updates.push.services.mozilla.com/x",
            "https://wns2-par02p.notify.windows.com/w/?token=x",
        ] {
            assert!(Hosts::Known.check(endpoint).is_ok(), "{endpoint}");
        }
        for endpoint in [
            "https://push.example/x",
            "https://evilnotify.windows.com/x",
            "https://fcm.googleapis.com.evil.example/",
        ] {
            assert!(Hosts::Known.check(endpoint).is_err(), "{endpoint}");
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_this_machine_resolves_to_nothing() {
        let Err(error) = Resolver(Hosts::Public).resolve("localhost".parse().unwrap()).await else {
            panic!("an address of this machine")
        };
        assert!(NotPublic::caused(error.as_ref()));
        assert!(Resolver(Hosts::Any).resolve("localhost".parse().unwrap()).await.is_ok());
    }
}
