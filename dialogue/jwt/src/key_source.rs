//! The trait of the places that keys come from.

use std::{any::Any, fmt, pin::Pin};

use super::{
    keys::Keys,
    token::{TokenError, UnverifiedToken},
};

/// The outcome of a check, which may wait for keys.
pub(super) type CheckFuture<'a> = Pin<Box<dyn Future<Output = Result<(), TokenError>> + Send + 'a>>;

/// The keys that tokens are checked with: those of the program, of a file or of a key server.
pub(super) trait KeySource: Any + Send + Sync {
    /// Verifies that one of the keys has signed the token.
    fn check<'a>(&'a self, token: &'a UnverifiedToken<'_>) -> CheckFuture<'a>;

    /// Adds the place of the keys to the `Debug` of their authenticator, if it is known.
    fn show_place(&self, jwt: &mut fmt::DebugStruct<'_, '_>);
}

/// The keys of the program, which never change.
impl KeySource for Keys {
    fn check<'a>(&'a self, token: &'a UnverifiedToken<'_>) -> CheckFuture<'a> {
        Box::pin(async move { self.check(token) })
    }

    fn show_place(&self, _: &mut fmt::DebugStruct<'_, '_>) {}
}
