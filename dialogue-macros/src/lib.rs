//! Macros of `dialogue`; use them through that crate.
