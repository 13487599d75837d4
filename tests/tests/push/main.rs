//! People who are not connected: providers' fakes on loopback, over TLS, that check what the real ones check and answer what
//! they document.

mod acme;
mod apns;
mod crashes;
mod delivery;
mod doomed;
mod fake;
mod fcm;
mod instances;
mod registration;
mod strangers;
mod webpush;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;
