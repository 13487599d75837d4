//! The kind of caller that an idempotency key belongs to, beside the id that an event is from.

/// The kind of caller that a key was used by. Keys of different kinds never meet, though the events may be from one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyScope {
    /// A user: the key is that user's own.
    User,
    /// The server, or the application's backend with a server key: its keys are not those of the user that it speaks for.
    Server,
    /// A caller without a token: the key is common to all of those, since a retry is given another id, and the id's own too.
    Newcomer,
}

/// The character before a letter that names a scope. It is in front of a user's key as well if that begins with it.
const MARK: char = '\u{1}';

impl KeyScope {
    /// The scope of a key in the form in which a store has it, and the key as its caller knows it.
    pub fn read(key: &str) -> (Self, &str) {
        let Some(marked) = key.strip_prefix(MARK) else { return (KeyScope::User, key) };
        match marked.split_at_checked(1) {
            Some(("s", key)) => (KeyScope::Server, key),
            Some(("n", key)) => (KeyScope::Newcomer, key),
            Some(("u", key)) => (KeyScope::User, key),
            _ => (KeyScope::User, key),
        }
    }
}

/// The form in which a store has a key: the key itself, or behind a mark where it is no plain key of a user.
pub(crate) fn scoped(scope: KeyScope, key: Box<str>) -> Box<str> {
    let letter = match scope {
        KeyScope::User if !key.starts_with(MARK) => return key,
        KeyScope::User => 'u',
        KeyScope::Server => 's',
        KeyScope::Newcomer => 'n',
    };
    format!("{MARK}{letter}{key}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_and_no_two_are_one() {
        let mut forms = std::collections::HashSet::new();
        for key in ["k", "", "sk", "\u{1}", "\u{1}s", "\u{1}sk", "\u{1}nk", "é", "\u{1}é"] {
            for scope in [KeyScope::User, KeyScope::Server, KeyScope::Newcomer] {
                let form = scoped(scope, key.into());
                assert_eq!(KeyScope::read(&form), (scope, key));
                assert!(forms.insert(form));
            }
        }
        assert_eq!(KeyScope::read("\u{1}"), (KeyScope::User, "\u{1}"));
    }
}
