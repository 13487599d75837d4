use std::net::Ipv6Addr;

/// Returns whether `text` is an absolute URL of the web, by the generic syntax of RFC 3986, section 3: `http`, `https`,
/// `ws` or `wss`, a host, and optionally user information, port, path, query and fragment. Other schemes are refused,
/// for a link of `javascript://…` or `data:` would run in the page that shows it. Characters beyond ASCII may stand in
/// any part (RFC 3987), and those of ASCII that browsers show without escaping them.
pub(super) fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let known = ["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let (authority, after) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    known && is_authority(authority) && is_escaped(after) && !after.contains(is_barred)
}

/// `user:password@host:port`
fn is_authority(authority: &str) -> bool {
    let (user, address) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) if host.parse::<Ipv6Addr>().is_ok() => match rest.strip_prefix(':') {
            None if rest.is_empty() => ("v6", ""),
            None => return false,
            Some(port) => ("v6", port),
        },
        Some(_) => return false,
        None => address.split_once(':').unwrap_or((address, "")),
    };
    is_host(host) && is_port(port) && is_escaped(user) && !user.contains(|c| c == '@' || is_barred(c))
}

/// A name or an IPv4 address.
fn is_host(host: &str) -> bool {
    const MAX: usize = 253;
    let plain =
        |c: char| c.is_alphanumeric() || ['-', '_', '~'].contains(&c) || (!c.is_ascii() && !is_barred(c));
    let labels = host.strip_suffix('.').unwrap_or(host);
    host.len() <= MAX && labels.split('.').all(|label| !label.is_empty() && label.chars().all(plain))
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|b| b.is_ascii_digit()) && (port.is_empty() || port.parse::<u16>().is_ok())
}

/// Returns whether each `%` has two hexadecimal digits after it.
fn is_escaped(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// Returns whether a character can't stand in a URL: it would end the URL in running text or in the attribute of an
/// element, or is one of the formatting characters that RFC 3987, section 4.1, rules out, as they show a URL in another
/// order.
fn is_barred(c: char) -> bool {
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || c.is_whitespace() || c.is_control() || ['"', '<', '>', '\\', '`'].contains(&c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::is_url;

    #[test]
    fn takes_addresses_of_the_web() {
        let valid = [
            "http://a",
            "https://example.com",
            "HTTPS://EXAMPLE.com.",
            "ws://localhost:80/path",
            "wss://user:pa%20ss@example.com:8080/a/b?c=d&e[]=f#g?h/i",
            "http://[::1]",
            "http://[2001:db8::1]:8080/",
            "http://127.0.0.1/?x={y|z}",
            "https://de.wikipedia.org/wiki/Straße",
            "https://bücher.example/日本",
            "http://a:/",
            "http://a?b",
            "http://a#",
        ];
        for valid in valid {
            assert!(is_url(valid), "{valid}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        let invalid = [
            "",
            "http",
            "http:",
            "http://",
            "http:///a",
            "http:a",
            "//a",
            "/a",
            "a.example/b",
            "http://?a",
            "http://a b",
            " http://a",
            "http://a ",
            "http://a/\n",
            "http://a/\"onclick",
            "http://a/<b>",
            "http://a\\b",
            "http://a/%2",
            "http://a/%zz",
            "http://%41",
            "http://a:x",
            "http://a:65536",
            "http://a:+1",
            "http://a..b",
            "http://.a",
            "http://[::1",
            "http://[::1]a",
            "http://[a]",
            "http://::1",
            "http://a@",
            "http://a@b@c",
            "javascript:alert(1)",
            "javascript://a/%0aalert(1)",
            "data:text/html,a",
            "mailto:a@b",
            "ftp://a",
            "http://a/\u{202e}gpj.exe",
            "http://a\u{2066}b",
            "http://\u{200f}a@b",
        ];
        for invalid in invalid {
            assert!(!is_url(invalid), "{invalid}");
        }
    }

    proptest! {
        #[test]
        fn takes_what_the_rfc_makes(text in "(http|https|ws|wss)://([a-z0-9._~!$&'()*+,;=:-]{0,8}@)?[a-z0-9]{1,9}(\\.[a-z0-9-]{1,9}){0,3}(:[0-9]{0,4})?(/[a-zA-Z0-9._~!$&'()*+,;=:@-]{0,9}){0,3}(\\?[a-z=&/?]{0,9})?(#[a-z/?]{0,9})?") {
            prop_assert!(is_url(&text));
        }

        #[test]
        fn ends_at_what_would_end_it_in_a_page(text in ".*") {
            if is_url(&text) {
                prop_assert!(!text.contains(['"', '<', '>', ' ', '\n']));
            }
        }
    }
}
