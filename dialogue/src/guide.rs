//! How to write, run and operate an application with Dialogue: one chapter for each subject.
//!
//! The first two chapters are enough for a first program. Every snippet is compiled by this crate's tests. Bounds and
//! defaults that a chapter names are listed in [`limits`] with the others.
//!
#![doc = include_str!("docs/guide/contents.md")]
// A chapter names others by labels. Each file ends with their definitions for readers of the files; `links.md` comes
// first here, and the first definition of a label is the one that counts (CommonMark, 4.7).
//
// The chapters link to items of many features. Where one is off, its links lead nowhere; docs.rs has all of them on.
#![cfg_attr(
    not(all(
        feature = "client",
        feature = "disk",
        feature = "filter",
        feature = "inspector",
        feature = "jwks",
        feature = "metrics",
        feature = "redis",
        feature = "statsd",
        feature = "testing",
        feature = "webpush",
    )),
    allow(rustdoc::broken_intra_doc_links, rustdoc::private_intra_doc_links)
)]

#[doc = include_str!("docs/guide/links.md")]
#[doc = include_str!("docs/guide/rooms.md")]
pub mod rooms {}

#[doc = include_str!("docs/guide/links.md")]
#[doc = include_str!("docs/guide/clients.md")]
pub mod clients {}

#[doc = include_str!("docs/guide/links.md")]
#[doc = include_str!("docs/guide/users.md")]
pub mod users {}

#[doc = include_str!("docs/guide/links.md")]
#[doc = include_str!("docs/guide/hooks.md")]
pub mod hooks {}

#[doc = include_str!("docs/guide/links.md")]
#[doc = include_str!("docs/guide/middleware.md")]
pub mod middleware {}

#[doc = include_str!("docs/guide/links.md")]
#[doc = include_str!("docs/guide/history.md")]
pub mod history {}

#[doc = include_str!("docs/guide/links.md")]
#[doc = include_str!("docs/guide/presence.md")]
pub mod presence {}

#[doc = include_str!("docs/guide/links.md")]
#[doc = include_str!("docs/guide/push.md")]
pub mod push {}

#[doc = include_str!("docs/guide/links.md")]
#[doc = include_str!("docs/guide/nodes.md")]
pub mod nodes {}

#[doc = include_str!("docs/guide/links.md")]
#[doc = include_str!("docs/guide/testing.md")]
pub mod testing {}

#[doc = include_str!("docs/guide/links.md")]
#[doc = include_str!("docs/guide/observability.md")]
pub mod observability {}

#[doc = include_str!("docs/guide/links.md")]
#[doc = include_str!("docs/guide/deployment.md")]
pub mod deployment {}

#[doc = include_str!("docs/guide/links.md")]
#[doc = include_str!("docs/guide/support_desk.md")]
pub mod support_desk {}

#[doc = include_str!("docs/guide/links.md")]
#[doc = include_str!("docs/guide/troubleshooting.md")]
pub mod troubleshooting {}

#[doc = include_str!("docs/guide/links.md")]
#[doc = include_str!("docs/guide/coming_from.md")]
pub mod coming_from {}

#[doc = include_str!("docs/guide/links.md")]
#[doc = include_str!("docs/guide/when_not.md")]
pub mod when_not {}

#[doc = include_str!("docs/guide/links.md")]
#[doc = include_str!("docs/guide/limits.md")]
pub mod limits {}

#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}
