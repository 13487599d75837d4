//! Each form of the grammar, one a file.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "the files read as a user's program does")]

mod applications;
mod brackets;
mod chains;
mod conditions;
mod design;
mod events;
mod identity;
mod keys;
mod names;
mod notifications;
mod options;
mod renamed;
