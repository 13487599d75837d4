//! From which pages browsers may come.

/// The allow-list of origins.
#[derive(Debug, Clone, Default)]
pub(crate) enum Origins {
    /// Those that this server served.
    #[default]
    Same,
    /// These, such as `https://example.com`, and those that this server served.
    These(Vec<String>),
    /// All.
    Any,
}

impl Origins {
    /// Whether a page of `origin` may talk to a server that it calls `host`.
    pub(crate) fn allow(&self, origin: &str, host: Option<&str>) -> bool {
        // `null` is every page that hides where it is from (RFC 6454, section 7.3): it can't be told from a stranger's.
        let Some(own) = host_of(origin) else { return false };
        match self {
            Origins::Same => Some(own) == host,
            Origins::These(listed) => Some(own) == host || listed.iter().any(|allowed| allowed == origin),
            Origins::Any => true,
        }
    }

    /// The first of those listed that no browser ever sends.
    pub(crate) fn unheard_of(&self) -> Option<&str> {
        let Origins::These(listed) = self else { return None };
        listed.iter().map(String::as_str).find(|origin| host_of(origin).is_none())
    }
}

/// `host:port` of `scheme://host:port` as browsers write it: in lower case, and with nothing after.
fn host_of(origin: &str) -> Option<&str> {
    let (scheme, host) = origin.split_once("://")?;
    let lower = |c: char| c.is_ascii_graphic() && !c.is_ascii_uppercase();
    let in_scheme = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    let good = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.chars().all(in_scheme)
        && !host.is_empty()
        && host.chars().all(|c| lower(c) && !"/?#@\\,*".contains(c));
    good.then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Option<&str> = Some("acme.example:8080");

    #[test]
    fn a_page_of_the_server_may_whatever_is_listed() {
        for origins in [Origins::Same, Origins::These(vec!["https://a.example".to_owned()]), Origins::Any] {
            assert!(origins.allow("http://acme.example:8080", HOST));
        }
    }

    #[test]
    fn a_foreign_page_may_if_it_is_listed_to_the_letter() {
        let origins = Origins::These(vec!["https://a.example".to_owned()]);
        assert!(origins.allow("https://a.example", HOST));
        for foreign in
            ["http://a.example", "https://a.example:8443", "https://b.example", "https://a.example.b"]
        {
            assert!(!origins.allow(foreign, HOST), "{foreign}");
            assert!(Origins::Any.allow(foreign, HOST), "{foreign}");
        }
    }

    #[test]
    fn what_is_no_origin_may_not_even_if_it_is_listed() {
        for bad in [
            "",
            "null",
            "*",
            "nonsense",
            "https://",
            "://a",
            "https://a/",
            "https://u@a",
            "https://A",
            "a b://c",
        ] {
            let listed = Origins::These(vec![bad.to_owned()]);
            for origins in [&Origins::Same, &listed, &Origins::Any] {
                assert!(!origins.allow(bad, Some(bad)), "{bad:?}");
            }
            assert_eq!(listed.unheard_of(), Some(bad));
        }
    }
}
