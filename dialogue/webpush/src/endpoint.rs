//! The check of push endpoints against server-side request forgery (SSRF).
//!
//! A subscription's endpoint is text of a user's choice. It must not make the server send requests to hosts that only
//! the server can reach. So an endpoint is an `https` URL without a private address, and its name is resolved to public
//! addresses only, at the time of the connection: DNS that changes its answer after a check (DNS rebinding) changes
//! nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Url;

/// The hosts that endpoints may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum AllowedHosts {
    /// Hosts with public addresses.
    #[default]
    Public,
    /// The push services of browser vendors.
    Browsers,
    /// All hosts, including those in a private network and this machine.
    Any,
}

/// The push services of browser vendors: hosts, and domains with a leading dot.
const BROWSER_HOSTS: &[&str] = &[
    "fcm.googleapis.com",
    "jmt17.google.com",
    "updates.push.services.mozilla.com",
    ".push.services.mozilla.com",
    ".notify.windows.com",
    "web.push.apple.com",
    ".push.apple.com",
];

/// The maximum of bytes of an endpoint.
const MAX_ENDPOINT_BYTES: usize = 2_048;

impl AllowedHosts {
    /// Parses an endpoint, and checks everything except the addresses of its name.
    ///
    /// # Errors
    ///
    /// The reason why the endpoint is refused, for the client's developer.
    pub(crate) fn check(self, endpoint: &str) -> Result<Url, &'static str> {
        if endpoint.len() > MAX_ENDPOINT_BYTES {
            return Err("the endpoint is longer than 2048 bytes");
        }
        let url = Url::parse(endpoint).map_err(|_| "the endpoint is not a URL")?;
        if url.scheme() != "https" || !url.username().is_empty() || url.password().is_some() {
            return Err("the endpoint has to be an https URL without a user");
        }
        let host = host(&url);
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        match self {
            AllowedHosts::Any => Ok(url),
            AllowedHosts::Browsers if is_browser_service(&url) => Ok(url),
            AllowedHosts::Browsers => {
                Err("the endpoint is not at a browser vendor's push service, and no others are allowed")
            }
            AllowedHosts::Public if host == "localhost" || host.ends_with(".localhost") => {
                Err(PRIVATE_ADDRESS)
            }
            AllowedHosts::Public if address.is_some_and(|address| !is_public(address)) => {
                Err(PRIVATE_ADDRESS)
            }
            AllowedHosts::Public => Ok(url),
        }
    }
}

/// Returns whether a URL is at a push service of a browser vendor.
pub(crate) fn is_browser_service(url: &Url) -> bool {
    let host = host(url);
    BROWSER_HOSTS.iter().any(|known| host == *known || known.starts_with('.') && host.ends_with(known))
}

/// Returns whether an origin is a push service of a browser vendor, at the default port. Of other ports a user could
/// name 65,535 on such a host, none of which answers.
pub(crate) fn is_browser_origin(origin: &str) -> bool {
    Url::parse(origin)
        .is_ok_and(|url| url.scheme() == "https" && url.port().is_none() && is_browser_service(&url))
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default().trim_end_matches('.')
}

const PRIVATE_ADDRESS: &str = "the endpoint's address is not public";

/// Returns whether an address is on the public internet: in none of the special-purpose blocks of RFC 6890 and its
/// updates.
pub(crate) fn is_public(address: IpAddr) -> bool {
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
        // "This network", shared address space (RFC 6598), protocol assignments, 6to4 relays, benchmarking, reserved.
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
        // An embedded IPv4 address: mapped (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC 3056).
        (0, 0) if (c, d, e, f) == (0, 0, 0, 0xffff) => embedded(g, h),
        (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => embedded(g, h),
        (0x2002, _) => embedded(b, c),
        // Protocol assignments, Teredo among them, and documentation.
        (0x2001, 0..0x200 | 0xdb8) => false,
        (0x3fff, 0..0x1000) => false,
        // All global unicast addresses (RFC 4291, section 2.4).
        _ => a & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_in_all_notations_are_refused() {
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
            assert!(is_browser_origin(origin), "{origin}");
        }
        for origin in
            ["https://fcm.googleapis.com:8443", "http://fcm.googleapis.com", "https://evil.example", "null"]
        {
            assert!(!is_browser_origin(origin), "{origin}");
        }
    }

    #[test]
    fn endpoints_are_https_and_public() {
        let allowed =
            ["https://fcm.googleapis.com/fcm/send/x", "https://push.example:8443/a?b", "https://8.8.8.8/x"];
        for endpoint in allowed {
            assert!(AllowedHosts::Public.check(endpoint).is_ok(), "{endpoint}");
        }
        let refused = [
            "",
            "x",
            "http://push.example/x",
            "https://u@push.example/x",
            "https://u:p@push.example/x",
            "https://localhost/x",
            "https://a.localhost./x",
            "https://127.0.0.1/x",
            "https://[::1]/x",
            // The URL parser reads addresses as browsers do: as one number, in octal, in hexadecimal.
            "https://2130706433/x",
            "https://0177.0.0.1/x",
            "https://0x7f.1/x",
            "file:///etc/passwd",
        ];
        for endpoint in refused {
            assert!(AllowedHosts::Public.check(endpoint).is_err(), "{endpoint}");
        }
        assert!(
            AllowedHosts::Any.check("https://localhost:1/x").is_ok()
                && AllowedHosts::Any.check("http://localhost/x").is_err()
        );
    }

    #[test]
    fn known_services_are_matched_by_host() {
        for endpoint in [
            "https://updates.push.services.mozilla.com/x",
            "https://wns2-par02p.notify.windows.com/w/?token=x",
        ] {
            assert!(AllowedHosts::Browsers.check(endpoint).is_ok(), "{endpoint}");
        }
        for endpoint in [
            "https://push.example/x",
            "https://evilnotify.windows.com/x",
            "https://fcm.googleapis.com.evil.example/",
        ] {
            assert!(AllowedHosts::Browsers.check(endpoint).is_err(), "{endpoint}");
        }
    }
}
