//! A device's registration, as it is stored, and the ids that stand in the store's keys.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::PushTarget;

/// A device's id in the store: its provider's name and the hash of its token or endpoint, `fcm/HASH`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct DeviceId(String);

/// The id of one registration of a device. Registering again makes another with a later revision, so that an answer
/// about one registration can't affect the next.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RegistrationId {
    pub(super) device: DeviceId,
    /// The time in milliseconds and a random number. Later revisions sort behind earlier ones.
    revision: String,
}

/// The stored value of a registration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceRecord {
    #[serde(rename = "user")]
    pub(super) user_id: String,
    pub(super) target: PushTarget,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) language: Option<String>,
    /// The hash of the address from which an anonymous user registered it.
    #[serde(rename = "address", default, skip_serializing_if = "Option::is_none")]
    pub(super) address_hash: Option<String>,
    /// The ids of the rooms whose notifications it gets.
    pub(super) rooms: Vec<String>,
    /// The time of the registration, in Unix milliseconds.
    #[serde(rename = "registered")]
    pub(super) registered_at: u64,
    /// The time until which it gets nothing, in Unix milliseconds.
    #[serde(rename = "suspended", default, skip_serializing_if = "Option::is_none")]
    pub(super) suspended_until: Option<u64>,
}

impl DeviceId {
    pub(super) fn new(provider: &str, target: &PushTarget) -> Self {
        DeviceId(format!("{provider}/{}", short_hash(target.address())))
    }

    /// Parses the part of a key that holds a device's id.
    pub(super) fn parse(text: &str) -> Option<Self> {
        text.contains('/').then(|| DeviceId(text.to_owned()))
    }

    /// Returns whether it is a device of the provider with that name.
    pub(super) fn is_of(&self, provider: &str) -> bool {
        self.0.strip_prefix(provider).is_some_and(|rest| rest.starts_with('/'))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl RegistrationId {
    pub(super) fn new(device: DeviceId, now: u64) -> Self {
        RegistrationId { device, revision: format!("{now:013}{:08x}", fastrand::u32(..)) }
    }

    /// Parses the part of a key that holds a registration's id: `fcm/HASH/REVISION`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (device, revision) = text.rsplit_once('/')?;
        Some(RegistrationId { device: DeviceId::parse(device)?, revision: revision.to_owned() })
    }
}

impl fmt::Display for RegistrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.device.0, self.revision)
    }
}

impl fmt::Debug for RegistrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Returns 22 characters of base64url, 128 bits of the text's SHA-256: fit for a key, and without the text in it.
pub(super) fn short_hash(text: &str) -> String {
    let hash = Sha256::digest(text);
    URL_SAFE_NO_PAD.encode(hash.get(..16).unwrap_or_default())
}
