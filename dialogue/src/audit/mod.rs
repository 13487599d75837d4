//! A room's log as a file that shows whether anybody changed it since.
//!
//! In a room that is declared with `audit`, each event carries a digest: SHA-256 over the digest of the event before it
//! (32 zero bytes before the first) followed by the event's frame, exactly as clients get it. So the digest of the last
//! event stands for the whole log.
//!
//! # The file
//!
//! JSON Lines (UTF-8, one object a line, each ended by `\n`). The first line says what follows, as it was when the
//! export began:
//!
//! ```text
//! {"audit":1,"roomId":"ledger","epoch":"k2f9","after":{"seq":0,"digest":"00…"},"through":{"seq":57,"digest":"9c…"}}
//! ```
//!
//! `after` is the event that the chain goes on after: number 0 and zeros, if the log holds its first event; otherwise
//! the oldest event that is held, which nothing is left to check by. Each line that follows is an event:
//!
//! ```text
//! {"digest":"5b…","frame":{"type":"event","roomId":"ledger",…,"seq":1}}
//! ```
//!
//! Digests are 64 hexadecimal digits in lower case. What is hashed of an event are the bytes of the line from its 86th
//! to the last but one (the `}` that ends the line): no JSON need be parsed to check the chain.
//!
//! # What it proves
//!
//! [`verify`] names the first event that was altered, removed, inserted or moved. Who can write the file can also write
//! all of it anew, with digests that fit, or cut off its end and say so in the first line: against that, keep an
//! [`Anchor`] where they can't write, and [verify by it](Verify::anchor). The anchor of one export is also where the
//! next goes on. The epoch is told, and not proven.

mod anchor;
mod export;
mod line;
mod tampered;
#[cfg(test)]
mod tests;
mod verify;

pub(crate) use anchor::link;
pub use anchor::{Anchor, NoAnchor};
pub(crate) use export::Export;
pub use export::ExportError;
pub use tampered::Tampered;
pub use verify::{Summary, Verify, verify};
