//! URLs of Redis servers, in the form of the IANA registrations of
//! [`redis`](https://www.iana.org/assignments/uri-schemes/prov/redis) and
//! [`rediss`](https://www.iana.org/assignments/uri-schemes/prov/rediss).

use std::fmt;

use percent_encoding::percent_decode_str;

use crate::error::RedisError;

/// The host and port of a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ServerAddress {
    /// The host's name or address, an IPv6 address without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A parsed URL of the form `redis://USER:PASSWORD@HOST:PORT/DATABASE`, or `rediss://` for TLS.
#[derive(Clone)]
pub(crate) struct Url {
    pub(crate) address: ServerAddress,
    pub(crate) tls: bool,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) database: u32,
}

const PORT: u16 = 6379;
/// The default port of a Sentinel.
pub(crate) const SENTINEL_PORT: u16 = 26379;

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, RedisError> {
        Url::parse_with(text, PORT)
    }

    /// Parses a URL, with `port` as the default port. Errors don't repeat the text, which may hold a password.
    pub(crate) fn parse_with(text: &str, port: u16) -> Result<Self, RedisError> {
        let url = redis::parse_redis_url(text).ok_or_else(|| {
            RedisError::configuration(
                "the URL of Redis can't be parsed: write redis://HOST:PORT, or rediss://HOST:PORT for TLS; \
                 a `@`, `:` or `/` in a password is written %40, %3A or %2F",
            )
        })?;
        let tls = match url.scheme() {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            other => {
                return Err(RedisError::configuration(format!(
                    "the URL of Redis begins with `{other}:`: write redis://HOST:PORT, or rediss:// for TLS"
                )));
            }
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(RedisError::configuration(
                "the URL of Redis has a query or a fragment: set options by the methods of `RedisConnect`",
            ));
        }
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(RedisError::configuration("the URL of Redis has no host"));
        }
        Ok(Url {
            address: ServerAddress { host: host.to_owned(), port: url.port().unwrap_or(port) },
            tls,
            user: Some(url.username()).filter(|user| !user.is_empty()).map(decode).transpose()?,
            password: url.password().map(decode).transpose()?,
            database: database(url.path())?,
        })
    }
}

fn decode(text: &str) -> Result<String, RedisError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| {
        RedisError::configuration("the user or the password in the URL of Redis is not UTF-8 once decoded")
    })
}

fn database(path: &str) -> Result<u32, RedisError> {
    match path.trim_start_matches('/') {
        "" => Ok(0),
        number => number.parse().map_err(|_| {
            RedisError::configuration(format!(
                "the URL of Redis ends with `/{number}`: write the number of a database there, or nothing"
            ))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_address_credentials_and_database() {
        let url = Url::parse("redis://app:p%40ss@[::1]:7000/3").unwrap();
        assert_eq!(url.address.to_string(), "[::1]:7000");
        assert_eq!((url.user.as_deref(), url.password.as_deref()), (Some("app"), Some("p@ss")));
        assert_eq!((url.database, url.tls), (3, false));
        let plain = Url::parse("valkey://cache.example").unwrap();
        assert_eq!((plain.address.port, plain.user, plain.password), (6379, None, None));
        assert_eq!(Url::parse_with("redis://s", SENTINEL_PORT).unwrap().address.port, 26379);
    }

    #[test]
    fn an_invalid_url_is_an_error_without_its_secrets() {
        let invalid = ["", "secret", "http://u:secret@h", "redis://u:secret@h/x", "redis://u:secret@h?a=b"];
        for url in invalid.into_iter().chain(["redis://u:secret@", "unix:///secret", "redis://u:secret%FF@h"])
        {
            let error = Url::parse(url).err().map(|error| error.to_string());
            assert!(error.as_ref().is_some_and(|error| !error.contains("secret")), "{url}: {error:?}");
        }
    }
}
