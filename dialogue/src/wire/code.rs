//! Why something was refused.

use serde::{Deserialize, Serialize};

/// The code of an `error` frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum Code {
    /// Not JSON, not an object, of an unknown type, or with a missing or ill-typed field.
    InvalidRequest,
    /// No valid token.
    Unauthenticated,
    /// The identity may not do this.
    PermissionDenied,
    /// A role or the application refuses the join.
    JoinDenied,
    /// Nothing in a room is for those who haven't joined it.
    NotInRoom,
    /// No such room, or not over this channel.
    RoomNotFound,
    /// There is such a room already.
    RoomExists,
    /// The room holds as many connections as it may.
    RoomFull,
    /// The room doesn't carry that event, or clients may not send it.
    EventNotAllowed,
    /// The payload breaks a rule; [`Refusal::details`](super::Refusal::details) say which.
    ValidationFailed,
    /// A middleware stopped the event.
    Blocked,
    /// A configured bound is reached.
    TooMany,
    /// Too often; [`Refusal::retry_after`](super::Refusal::retry_after) says when again.
    RateLimited,
    /// Too large.
    TooLarge,
    /// The store or the backplane can't accept it now; nothing was stored, and the same key may be tried again.
    Unavailable,
    /// A bug.
    Internal,
    /// A code that this version doesn't know.
    #[serde(other)]
    Unknown,
}

impl Code {
    /// The status of an HTTP answer with this code.
    pub const fn status(self) -> u16 {
        match self {
            Code::InvalidRequest => 400,
            Code::Unauthenticated => 401,
            Code::PermissionDenied | Code::JoinDenied | Code::NotInRoom | Code::EventNotAllowed => 403,
            Code::RoomNotFound => 404,
            Code::RoomExists | Code::RoomFull | Code::TooMany => 409,
            Code::TooLarge => 413,
            Code::ValidationFailed | Code::Blocked => 422,
            Code::RateLimited => 429,
            Code::Internal | Code::Unknown => 500,
            Code::Unavailable => 503,
        }
    }
}
