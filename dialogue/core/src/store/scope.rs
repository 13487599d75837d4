//! Scopes of idempotency keys, and their encoding in front of a stored key.

/// The kind of caller that an idempotency key belongs to, besides the user that its event is from. Equal keys of
/// different scopes are different keys, even if their events are from the same user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyScope {
    /// A user with a token, or with the id that its connection was given: the key belongs to that user alone.
    User,
    /// Server code, or the application's backend with a server key. The key is not one of the user in whose name the
    /// event is.
    Server,
    /// A caller without a token. Each of its requests is given a fresh user id, so that a retry has another id than the
    /// first attempt; the key is therefore common to all such callers, and also belongs to the id that was made for the
    /// first.
    Unauthenticated,
}

/// The prefix of a stored key that names its scope by the letter behind it. A user's key that begins with this
/// character gets the prefix too.
const SCOPE_MARK: char = '\u{1}';

impl KeyScope {
    /// Splits a stored key into its scope and the key that the caller sent.
    pub fn parse(key: &str) -> (Self, &str) {
        let Some(marked) = key.strip_prefix(SCOPE_MARK) else { return (KeyScope::User, key) };
        match marked.split_at_checked(1) {
            Some(("s", key)) => (KeyScope::Server, key),
            Some(("n", key)) => (KeyScope::Unauthenticated, key),
            Some(("u", key)) => (KeyScope::User, key),
            _ => (KeyScope::User, key),
        }
    }

    /// Returns the stored form of a key that a caller sent, which [`parse`](Self::parse) splits again: the key itself
    /// if its scope is `User`, otherwise the key behind a mark for its scope.
    ///
    /// ```
    /// use dialogue::store::KeyScope;
    ///
    /// let stored = KeyScope::Server.encode("order-7".into());
    /// assert_eq!(KeyScope::parse(&stored), (KeyScope::Server, "order-7"));
    /// assert_eq!(&*KeyScope::User.encode("order-7".into()), "order-7");
    /// ```
    pub fn encode(self, key: Box<str>) -> Box<str> {
        let letter = match self {
            KeyScope::User if !key.starts_with(SCOPE_MARK) => return key,
            KeyScope::User => 'u',
            KeyScope::Server => 's',
            KeyScope::Unauthenticated => 'n',
        };
        format!("{SCOPE_MARK}{letter}{key}").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_keys_parse_back_and_are_distinct() {
        let mut forms = std::collections::HashSet::new();
        for key in ["k", "", "sk", "\u{1}", "\u{1}s", "\u{1}sk", "\u{1}nk", "é", "\u{1}é"] {
            for scope in [KeyScope::User, KeyScope::Server, KeyScope::Unauthenticated] {
                let form = scope.encode(key.into());
                assert_eq!(KeyScope::parse(&form), (scope, key));
                assert!(forms.insert(form));
            }
        }
        assert_eq!(KeyScope::parse("\u{1}"), (KeyScope::User, "\u{1}"));
    }
}
