//! The wire contract, version 1: what both ends speak.

mod code;
mod details;
mod position;
mod refusal;

pub use code::Code;
pub(crate) use details::details;
pub use position::{Accepted, Position};
pub use refusal::{Detail, Refusal};
