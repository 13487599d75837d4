//! How a server pushes.

use std::{fmt, sync::Arc, time::Duration};

#[cfg(feature = "webpush")]
use super::Vapid;
use super::{Apns, Fcm, Provider, PushError, devices::Bounds, http::Trust, provider::AnyProvider};

/// How a server reaches people who are not connected: by which providers, and how much of it.
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
///     .fcm(Fcm::from_json(account)?)
///     .apns(Apns::from_p8(key, "ABC123DEFG", "DEF123GHIJ", "com.acme.app")?);
/// let server = Acme::server().push(push).build().await?;
/// server.alerts().trigger(Alert { service: "db".into(), detail: "no answer".into() }).await?;
/// # Ok(()) }
/// ```
///
/// Devices are registered by their users, with the frames and endpoints of the wire protocol, for rooms that those may join
/// at that moment. Whether they still may is for [`Hooks::before_push`](crate::Hooks::before_push) to say, which is asked
/// before each push; [`UserHandle::forget_devices`](crate::UserHandle::forget_devices) takes all of a user's devices out at
/// once. See the [module](crate::push) for what a crash costs, and several instances.
#[must_use = "it does nothing until a server is given it"]
pub struct Push {
    #[cfg(feature = "webpush")]
    vapid: Option<Vapid>,
    fcm: Option<Fcm>,
    apns: Option<Apns>,
    own: Vec<Arc<dyn AnyProvider>>,
    trusted: Vec<String>,
    bounds: Bounds,
}

/// What [`Push`] comes to.
pub(crate) struct Opened {
    pub(super) providers: Vec<Arc<dyn AnyProvider>>,
    pub(super) bounds: Bounds,
    pub(super) public_key: Option<String>,
}

impl Push {
    /// With no provider yet.
    #[expect(clippy::new_without_default, reason = "one without a provider is of no use")]
    pub fn new() -> Self {
        Push {
            #[cfg(feature = "webpush")]
            vapid: None,
            fcm: None,
            apns: None,
            own: Vec::new(),
            trusted: Vec::new(),
            bounds: Bounds {
                of_user: 20,
                of_address: 256,
                of_all: 1_000_000,
                rooms: 256,
                expire_after: Duration::from_secs(90 * 24 * 60 * 60),
            },
        }
    }

    /// To browsers.
    #[cfg(feature = "webpush")]
    pub fn vapid(mut self, vapid: Vapid) -> Self {
        self.vapid = Some(vapid);
        self
    }

    /// Through Firebase Cloud Messaging.
    pub fn fcm(mut self, fcm: Fcm) -> Self {
        self.fcm = Some(fcm);
        self
    }

    /// To Apple's devices.
    pub fn apns(mut self, apns: Apns) -> Self {
        self.apns = Some(apns);
        self
    }

    /// Through a provider of one's own. May be called again for more.
    pub fn provider(mut self, provider: impl Provider) -> Self {
        self.own.push(Arc::new(provider));
        self
    }

    /// Also trusts the certificates in `pem`, beside the system's: of a gateway in one's own network.
    pub fn trust(mut self, pem: impl Into<String>) -> Self {
        self.trusted.push(pem.into());
        self
    }

    /// Devices that a user may have registered: 20 by default, then `TOO_MANY`.
    pub fn max_devices_per_user(mut self, devices: usize) -> Self {
        self.bounds.of_user = devices;
        self
    }

    /// Devices that the anonymous users of an address may have registered, of IPv6 its first 64 bits: 256 by default,
    /// and no fewer than one [user](Self::max_devices_per_user) may have; then `TOO_MANY`. Behind a proxy, say [how
    /// many](crate::ServerBuilder::behind_proxies).
    pub fn max_devices_per_address(mut self, devices: usize) -> Self {
        self.bounds.of_address = devices;
        self
    }

    /// Devices that may be registered in all: 1,000,000 by default, then `TOO_MANY`. Other processes on the same store are
    /// counted once an hour.
    pub fn max_devices(mut self, devices: usize) -> Self {
        self.bounds.of_all = devices;
        self
    }

    /// Rooms that a device may be registered for: 256 by default, then `TOO_MANY`.
    pub fn max_rooms_per_device(mut self, rooms: usize) -> Self {
        self.bounds.rooms = rooms;
        self
    }

    /// How long a registration is good for: 90 days by default. Clients register whenever they start, which begins it anew.
    pub fn expire_after(mut self, time: Duration) -> Self {
        self.bounds.expire_after = time;
        self
    }

    /// Sets up what sends.
    ///
    /// # Errors
    ///
    /// There is nothing to send through, a name is given twice or none, or a certificate is none.
    pub(crate) fn open(self) -> Result<Opened, PushError> {
        let mut trust = Trust::default();
        self.trusted.iter().try_for_each(|pem| trust.add(pem))?;
        let mut opened = Opened { providers: Vec::new(), bounds: self.bounds, public_key: None };
        #[cfg(feature = "webpush")]
        if let Some(vapid) = self.vapid {
            opened.public_key = Some(vapid.public_key());
            opened.providers.push(Arc::new(vapid.open(&trust)?));
        }
        if let Some(fcm) = self.fcm {
            opened.providers.push(Arc::new(fcm.open(&trust)?));
        }
        if let Some(apns) = self.apns {
            opened.providers.push(Arc::new(apns.open(&trust)?));
        }
        opened.providers.extend(self.own);
        let names: Vec<&str> = opened.providers.iter().map(|provider| provider.name()).collect();
        if names.is_empty() {
            return Err(PushError::new("a push has a provider: `Push::new().fcm(…)`"));
        }
        for (place, name) in names.iter().enumerate() {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if !name.starts_with(|c: char| c.is_ascii_lowercase())
                || !name.chars().all(plain)
                || name.len() > 32
            {
                return Err(PushError::new(format!("`{name}` is no provider's name: one is like `fcm`")));
            }
            if names.iter().take(place).any(|before| before == name) {
                return Err(PushError::new(format!("there are two providers named `{name}`")));
            }
        }
        Ok(opened)
    }
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Push");
        #[cfg(feature = "webpush")]
        shown.field("vapid", &self.vapid);
        shown.field("fcm", &self.fcm).field("apns", &self.apns).finish_non_exhaustive()
    }
}
