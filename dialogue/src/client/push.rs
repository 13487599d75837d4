//! The client's requests that register a device for push notifications.

use std::fmt;

use serde::Serialize;

use super::{
    Client,
    core::{Reply, RetryClass},
    error::{Error, ErrorKind},
    request::Request,
};
use crate::wire::request::{Raw, RegisterPush, UnregisterPush};

/// A device to which a server can push notifications: the name of a provider, and the token or subscription that it
/// gave.
#[derive(Clone)]
pub struct Device {
    provider: String,
    token: Option<String>,
    subscription: Option<Raw<'static>>,
    language: Option<String>,
}

impl Device {
    /// Returns a device with a registration token of Firebase Cloud Messaging.
    pub fn fcm(token: impl Into<String>) -> Self {
        Device::new("fcm", token)
    }

    /// Returns a device with a token of the Apple Push Notification service, in hexadecimal.
    pub fn apns(token: impl Into<String>) -> Self {
        Device::new("apns", token)
    }

    /// Returns a device with a token of a provider that the server's application added.
    pub fn new(provider: impl Into<String>, token: impl Into<String>) -> Self {
        Device { provider: provider.into(), token: Some(token.into()), subscription: None, language: None }
    }

    /// Returns a browser, with the result of its `pushManager.subscribe`: a value that serializes as
    /// `PushSubscription.toJSON()`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`]: the subscription can't be JSON.
    pub fn browser(subscription: &impl Serialize) -> Result<Self, Error> {
        // By way of a value, since a frame has no raw newline, and JSON that the caller wrote may have.
        let subscription = serde_json::to_value(subscription)
            .and_then(|value| Raw::of(&value))
            .map_err(|error| Error::caused(ErrorKind::Encode, "write the subscription", error))?;
        Ok(Device {
            provider: "webpush".to_owned(),
            token: None,
            subscription: Some(subscription),
            language: None,
        })
    }

    /// Sets the locale of the device's user, as in `navigator.language`: `de`, `pt-BR`. Events may render notifications
    /// by it.
    #[must_use]
    pub fn language(mut self, language: impl Into<String>) -> Self {
        self.language = Some(language.into());
        self
    }

    /// Returns the request that registers the device for rooms, or, with another type, unregisters it.
    pub(super) fn registration(&self, rooms: Option<Vec<String>>) -> RegisterPush<'static> {
        RegisterPush {
            provider: self.provider.clone().into(),
            token: self.token.clone().map(Into::into),
            subscription: self.subscription.clone(),
            language: self.language.clone().map(Into::into),
            rooms,
        }
    }
}

impl Client {
    /// Registers a device for the notifications of rooms, by their ids. Rooms for which the same user registered it
    /// before stay registered. An application does this whenever it starts, since tokens change and registrations
    /// expire.
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
    /// [`ErrorKind::Refused`]: the provider is unknown or doesn't take the device, one of the rooms isn't pushed or may not be
    /// joined, or there are too many devices or rooms.
    pub async fn register_push(
        &self,
        device: &Device,
        rooms: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<(), Error> {
        let rooms = Some(rooms.into_iter().map(Into::into).collect());
        self.change_push(device.registration(rooms).into()).await
    }

    /// Unregisters a device from the notifications of some rooms.
    ///
    /// # Errors
    ///
    /// Those of [`register_push`](Self::register_push). A device that isn't registered is no error.
    pub async fn unregister_push(
        &self,
        device: &Device,
        rooms: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<(), Error> {
        let rooms = Some(rooms.into_iter().map(Into::into).collect());
        self.change_push(UnregisterPush(device.registration(rooms)).into()).await
    }

    /// Unregisters a device from all notifications, as before the user signs out.
    ///
    /// # Errors
    ///
    /// Those of [`unregister_push`](Self::unregister_push).
    pub async fn forget_push(&self, device: &Device) -> Result<(), Error> {
        self.change_push(UnregisterPush(device.registration(None)).into()).await
    }

    async fn change_push(&self, request: Request) -> Result<(), Error> {
        match self.ask(None, RetryClass::Idempotent, request).await? {
            Reply::Done => Ok(()),
            _ => Err(Error::new(ErrorKind::Decode, "the server sent a response of another type")),
        }
    }
}

/// Shows no token, which identifies the device.
impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("provider", &self.provider).finish_non_exhaustive()
    }
}
