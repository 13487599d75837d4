//! The settings of who may connect: credentials, server keys and origins.

use std::time::Duration;

use super::{MAX_TIMEOUT, ServerBuilder};
use crate::server::application::Application;

impl<A: Application, I: Send + Sync + 'static, S, L> ServerBuilder<A, I, S, L> {
    /// Accepts connections that show no token, as anonymous users, although there is an [authenticator](Self::auth). A
    /// token that is shown and not valid is still refused.
    pub fn allow_anonymous(mut self) -> Self {
        self.settings.access.identity.allow_anonymous = true;
        self
    }

    /// Reads tokens from the cookie `name` too. Browsers send cookies with requests that other sites cause, so that the
    /// allow-list of origins ([`allow_origin`](Self::allow_origin)) is then the only protection from cross-site
    /// requests.
    pub fn auth_cookie(mut self, name: impl Into<String>) -> Self {
        self.settings.access.identity.cookie = Some(name.into());
        self
    }

    /// Sets the clock by which tokens expire, in place of the system's.
    #[cfg(test)]
    pub(crate) fn wall_clock(mut self, clock: crate::identity::Clock) -> Self {
        self.settings.access.identity.clock = clock;
        self
    }

    /// Adds a key with which the application's backend may trigger every event over HTTP: a random text of at least 16
    /// bytes. Each further call adds one, so that keys can be rotated without a gap.
    pub fn server_key(mut self, key: impl Into<String>) -> Self {
        self.settings.access.server_keys.push(key.into());
        self
    }

    /// Lets pages of `origin`, such as `https://acme.example`, connect and read responses over HTTP. Pages of the
    /// server's own origin always may. Each further call adds one.
    ///
    /// The text is an origin as browsers send it (RFC 6454, section 6.2): scheme, host, and the port unless it is the
    /// scheme's default, in lower case and without a trailing `/`. [`build`](Self::build) fails for any other text.
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.settings.access.origins.allow_origin(origin.into());
        self
    }

    /// Lets pages of every origin connect, except of a hidden one (`Origin: null`). With cookies or in a private
    /// network, any page can then act as its visitor.
    pub fn allow_any_origin(mut self) -> Self {
        self.settings.access.origins.allow_any();
        self
    }

    /// Lets clients connect that hide their origin (`Origin: null` or `file://`): pages that were opened from a file,
    /// and native shells that load them so. A page in a sandboxed frame hides its origin too; with cookies or in a
    /// private network, it can then act as its visitor.
    pub fn allow_hidden_origin(mut self) -> Self {
        self.settings.access.origins.allow_hidden();
        self
    }

    /// Sets the time in which a socket must show a token where one is required: 10 s by default. Then it is closed with
    /// 4401.
    pub fn auth_timeout(mut self, time: Duration) -> Self {
        self.settings.bounds.connections.auth_timeout = time.min(MAX_TIMEOUT);
        self
    }
}
