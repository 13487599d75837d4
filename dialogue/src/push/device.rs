//! What is kept of a device.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::Target;

/// A device's name in the store: its provider's, and what its token or endpoint hashes to.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct DeviceId(String);

/// One registration of a device: registering again makes another. Later ones sort behind earlier ones, and what is done to
/// one of them, because of what a provider said of it, can't touch the next.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Registration {
    pub(super) device: DeviceId,
    generation: String,
}

/// What a registration says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Device {
    pub(super) user: String,
    pub(super) target: Target,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) language: Option<String>,
    /// The hash of the address from which an anonymous user registered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<String>,
    /// The rooms whose notifications it gets.
    pub(super) rooms: Vec<String>,
    /// When it registered, in Unix milliseconds.
    pub(super) registered: u64,
    /// Until when it gets nothing, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) suspended: Option<u64>,
}

impl DeviceId {
    pub(super) fn new(provider: &str, target: &Target) -> Self {
        DeviceId(format!("{provider}/{}", short(target.address())))
    }

    /// What stands in a key.
    pub(super) fn parse(text: &str) -> Option<Self> {
        text.contains('/').then(|| DeviceId(text.to_owned()))
    }

    /// Whether it is a device of the provider with that name.
    pub(super) fn is_of(&self, provider: &str) -> bool {
        self.0.strip_prefix(provider).is_some_and(|rest| rest.starts_with('/'))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Registration {
    pub(super) fn new(device: DeviceId, now: u64) -> Self {
        Registration { device, generation: format!("{now:013}{:08x}", fastrand::u32(..)) }
    }

    /// What comes behind `…/` in a key: `fcm/HASH/GENERATION`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (device, generation) = text.rsplit_once('/')?;
        Some(Registration { device: DeviceId::parse(device)?, generation: generation.to_owned() })
    }
}

impl fmt::Display for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.device.0, self.generation)
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// 22 characters for any text: fit for a key, and without the text in it.
pub(super) fn short(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    URL_SAFE_NO_PAD.encode(hash.as_ref().get(..16).unwrap_or_default())
}
