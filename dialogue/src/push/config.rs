//! The configuration of the push module: providers and bounds, which
//! [`ServerBuilder::push`](crate::server::ServerBuilder::push) takes.

use std::{fmt, sync::Arc, time::Duration};

use super::{AnyProvider, Provider, PushError, device_registry::DeviceBounds};

/// The push settings of a server: the providers through which users who aren't connected get notifications, and the
/// bounds of the device registry.
///
/// ```no_run
/// use dialogue::push::{Apns, Fcm, Push};
///
/// #[dialogue::event(from = server, push(title = "{service} is down", body = "{detail}", urgency = high, ttl = 1h))]
/// pub struct Alert { pub service: String, pub detail: String }
///
/// dialogue::rooms! { pub struct Acme; alerts: [Alert] via [webpush, websocket]; }
///
/// # async fn run(account: &str, key: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let push = Push::new()
///     .provider(Fcm::from_json(account)?)
///     .provider(Apns::from_p8(key, "ABC123DEFG", "DEF123GHIJ", "com.acme.app")?);
/// let server = Acme::server().push(push).build().await?;
/// server.alerts().trigger(Alert { service: "db".into(), detail: "no answer".into() }).await?;
/// # Ok(()) }
/// ```
///
/// Users register their devices, with the frames and endpoints of the wire protocol, for rooms that they may join at
/// that time. Before each push, the hook [`Hooks::before_push`](crate::Hooks::before_push) decides whether the user
/// still gets it. [`UserHandle::forget_devices`](crate::server::UserHandle::forget_devices) removes all devices of a
/// user. The [module](crate::push) describes what is lost in a crash, and how several nodes share the work.
#[must_use = "push settings do nothing until `ServerBuilder::push` takes them"]
pub struct Push {
    providers: Vec<Arc<dyn AnyProvider>>,
    bounds: DeviceBounds,
}

/// Checked settings: the providers and the bounds of the device registry.
pub(crate) struct PushSetup {
    pub(super) providers: Vec<Arc<dyn AnyProvider>>,
    pub(super) bounds: DeviceBounds,
}

impl Push {
    /// Returns settings without a provider. The server doesn't start without one.
    #[expect(clippy::new_without_default, reason = "settings without a provider are of no use")]
    pub fn new() -> Self {
        Push {
            providers: Vec::new(),
            bounds: DeviceBounds {
                max_per_user: 20,
                max_per_address: 256,
                max_devices: 1_000_000,
                max_rooms: 256,
                expire_after: Duration::from_secs(90 * 24 * 60 * 60),
            },
        }
    }

    /// Adds a provider: `Fcm`, `Apns`, `Vapid`, or one of the application. Each call adds one.
    pub fn provider(mut self, provider: impl Provider) -> Self {
        self.providers.push(Arc::new(provider));
        self
    }

    /// Sets the maximum of devices that a user may register: 20 by default. Further registrations are refused with
    /// `TOO_MANY`.
    pub fn max_devices_per_user(mut self, devices: usize) -> Self {
        self.bounds.max_per_user = devices;
        self
    }

    /// Sets the maximum of devices that the anonymous users of one address may register, of IPv6 of one /64 network:
    /// 256 by default, and no fewer than [one user](Self::max_devices_per_user) may. Further registrations are refused
    /// with `TOO_MANY`. Behind a proxy, set [`behind_proxies`](crate::server::ServerBuilder::behind_proxies), or all
    /// clients have the proxy's address.
    pub fn max_devices_per_address(mut self, devices: usize) -> Self {
        self.bounds.max_per_address = devices;
        self
    }

    /// Sets the maximum of registered devices in all: 1,000,000 by default. Further registrations are refused with
    /// `TOO_MANY`. Devices that other processes on the same store register are counted once an hour.
    pub fn max_devices(mut self, devices: usize) -> Self {
        self.bounds.max_devices = devices;
        self
    }

    /// Sets the maximum of rooms that a device may be registered for: 256 by default. Further registrations are refused
    /// with `TOO_MANY`.
    pub fn max_rooms_per_device(mut self, rooms: usize) -> Self {
        self.bounds.max_rooms = rooms;
        self
    }

    /// Sets the time after which a registration expires: 90 days by default. Clients register whenever they start,
    /// which begins it anew.
    pub fn expire_after(mut self, time: Duration) -> Self {
        self.bounds.expire_after = time;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// There is no provider, or a provider's name is invalid or occurs twice.
    pub(crate) fn open(self) -> Result<PushSetup, PushError> {
        let names: Vec<&str> = self.providers.iter().map(|provider| provider.name()).collect();
        if names.is_empty() {
            return Err(PushError::new(
                "no push provider is set; add one, such as `Push::new().provider(Fcm::from_json(…)?)`",
            ));
        }
        for (place, name) in names.iter().enumerate() {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if !name.starts_with(|c: char| c.is_ascii_lowercase())
                || !name.chars().all(plain)
                || name.len() > 32
            {
                return Err(PushError::new(format!(
                    "`{name}` can't name a push provider; use 1 to 32 of `a-z`, `0-9` and `-`, a letter first"
                )));
            }
            if names.iter().take(place).any(|before| before == name) {
                return Err(PushError::new(format!("two push providers are named `{name}`; rename one")));
            }
        }
        Ok(PushSetup { providers: self.providers, bounds: self.bounds })
    }
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.providers.iter().map(|provider| provider.name()).collect();
        f.debug_struct("Push").field("providers", &names).field("bounds", &self.bounds).finish()
    }
}
