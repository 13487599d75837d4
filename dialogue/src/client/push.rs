//! Devices that are told when nobody is connected.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::{
    Client,
    core::{Class, Reply},
    error::{Error, ErrorKind},
    frame::Request,
};

/// A device that a server can push notifications to.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    provider: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<String>,
}

impl Device {
    /// One with a token of Firebase Cloud Messaging.
    pub fn fcm(token: impl Into<String>) -> Self {
        Device::new("fcm", token)
    }

    /// One with a token of Apple's, in hexadecimal.
    pub fn apns(token: impl Into<String>) -> Self {
        Device::new("apns", token)
    }

    /// One with a token of a provider that the server's application added.
    pub fn new(provider: impl Into<String>, token: impl Into<String>) -> Self {
        Device { provider: provider.into(), token: Some(token.into()), subscription: None, language: None }
    }

    /// A browser, with what its `pushManager.subscribe` yields: an object that serializes as `PushSubscription.toJSON()` does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`]: it can't be JSON.
    pub fn browser(subscription: &impl Serialize) -> Result<Self, Error> {
        let subscription = serde_json::to_value(subscription)
            .map_err(|error| Error::caused(ErrorKind::Encode, "write the subscription", error))?;
        Ok(Device {
            provider: "webpush".to_owned(),
            token: None,
            subscription: Some(subscription),
            language: None,
        })
    }

    /// Whose user reads this language: `de`, `pt-BR`.
    #[must_use]
    pub fn language(mut self, language: impl Into<String>) -> Self {
        self.language = Some(language.into());
        self
    }
}

impl Client {
    /// Asks for the notifications of rooms, by their ids, on a device; for those that it was registered for by this user
    /// before, it stays so. An application does this whenever it starts, since tokens change and registrations expire.
    ///
    /// ```no_run
    /// # use dialogue::client::{Client, Device, Error};
    /// # async fn run(client: Client, token: String) -> Result<(), Error> {
    /// client.register_push(&Device::fcm(token).language("de"), ["alerts", "project:42"]).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`]: the device is none of the provider's, one of the rooms isn't pushed or may not be joined, or
    /// there are too many.
    pub async fn register_push(
        &self,
        device: &Device,
        rooms: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<(), Error> {
        let rooms = rooms.into_iter().map(Into::into).collect();
        self.change_push(Request::RegisterPush { device: device.clone(), rooms }).await
    }

    /// Wants no more notifications of these rooms on a device.
    ///
    /// # Errors
    ///
    /// As [`register_push`](Self::register_push). That the device isn't registered is none.
    pub async fn unregister_push(
        &self,
        device: &Device,
        rooms: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<(), Error> {
        let rooms = Some(rooms.into_iter().map(Into::into).collect());
        self.change_push(Request::UnregisterPush { device: device.clone(), rooms }).await
    }

    /// Wants no notifications at all on a device: before the user signs out, for one.
    ///
    /// # Errors
    ///
    /// As [`unregister_push`](Self::unregister_push).
    pub async fn forget_push(&self, device: &Device) -> Result<(), Error> {
        self.change_push(Request::UnregisterPush { device: device.clone(), rooms: None }).await
    }

    async fn change_push(&self, request: Request) -> Result<(), Error> {
        match self.ask(None, Class::Idempotent, request).await? {
            Reply::Done => Ok(()),
            _ => Err(Error::new(ErrorKind::Decode, "the server answered with something else")),
        }
    }
}

/// Whoever has a token can tell the device from others.
impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("provider", &self.provider).finish_non_exhaustive()
    }
}
