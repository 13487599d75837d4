//! The push settings in the file that `PUSH_KEYS` names, as JSON; each part may be missing:
//!
//! ```text
//! {
//!   "vapid": { "privateKey": "base64url, or PEM", "subject": "mailto:…", "privateHosts": false, "knownHosts": false },
//!   "fcm":   { "account": { the service account's key file }, "url": "https://…, instead of Google's" },
//!   "apns":  { "key": "the .p8's PEM", "keyId": "…", "teamId": "…", "bundleId": "…", "url": "https://…, instead of Apple's" },
//!   "trust": "PEM of certificates that are trusted beside the system's"
//! }
//! ```

use std::{error::Error, fs};

use dialogue::{
    Push,
    push::{Apns, Fcm, Vapid},
};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    vapid: Option<VapidSettings>,
    fcm: Option<FcmSettings>,
    apns: Option<ApnsSettings>,
    trust: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VapidSettings {
    private_key: String,
    subject: String,
    #[serde(default)]
    private_hosts: bool,
    #[serde(default)]
    known_hosts: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FcmSettings {
    account: Value,
    url: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ApnsSettings {
    key: String,
    key_id: String,
    team_id: String,
    bundle_id: String,
    url: Option<String>,
}

/// What the file at `path` says.
pub(crate) fn read(path: &str) -> Result<Push, Box<dyn Error>> {
    let text = fs::read_to_string(path).map_err(|error| format!("can't read {path}: {error}"))?;
    // Without the parser's own text, which may quote a key.
    let settings: Settings =
        serde_json::from_str(&text).map_err(|_| format!("{path} holds no push settings"))?;
    let trust = settings.trust.as_deref();
    let mut push = Push::new();
    if let Some(VapidSettings { private_key, subject, private_hosts, known_hosts }) = settings.vapid {
        let mut vapid = match private_key.contains("-----BEGIN") {
            true => Vapid::from_pem(&private_key, subject)?,
            false => Vapid::from_base64(&private_key, subject)?,
        };
        if private_hosts {
            vapid = vapid.allow_private_hosts();
        } else if known_hosts {
            vapid = vapid.known_hosts_only();
        }
        if let Some(pem) = trust {
            vapid = vapid.root_certificate(pem)?;
        }
        push = push.provider(vapid);
    }
    if let Some(FcmSettings { account, url }) = settings.fcm {
        let mut fcm = Fcm::from_json(&account.to_string())?;
        if let Some(url) = url {
            fcm = fcm.base_url(url);
        }
        if let Some(pem) = trust {
            fcm = fcm.root_certificate(pem)?;
        }
        push = push.provider(fcm);
    }
    if let Some(ApnsSettings { key, key_id, team_id, bundle_id, url }) = settings.apns {
        let mut apns = Apns::from_p8(&key, key_id, team_id, bundle_id)?;
        if let Some(url) = url {
            apns = apns.base_url(url);
        }
        if let Some(pem) = trust {
            apns = apns.root_certificate(pem)?;
        }
        push = push.provider(apns);
    }
    Ok(push)
}
