//! The codes of refusals.

use serde::{Deserialize, Serialize};

/// The code of a refusal, in an `error` frame and in HTTP responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum Code {
    /// The request is not JSON, not an object, of an unknown type, or has a missing or ill-typed field.
    InvalidRequest,
    /// The request has no valid token.
    Unauthenticated,
    /// The user lacks the permission.
    PermissionDenied,
    /// The user lacks the role that the room requires, or the application refused the join.
    JoinDenied,
    /// The connection is not a member of the room, which the request requires.
    NotInRoom,
    /// There is no such room, or it isn't served over this channel.
    RoomNotFound,
    /// A room of that id exists already.
    RoomExists,
    /// The room has its maximum of connections.
    RoomFull,
    /// The room doesn't carry that event, or clients may not send it.
    EventNotAllowed,
    /// The payload breaks validation rules, which [`Refusal::details`](super::Refusal::details) lists.
    ValidationFailed,
    /// Middleware refused the event.
    Blocked,
    /// A configured bound is reached.
    TooMany,
    /// A rate limit is exceeded; [`Refusal::retry_after`](super::Refusal::retry_after) holds the time to wait.
    RateLimited,
    /// The request or a value in it is too large.
    TooLarge,
    /// The store or the backplane can't accept the event now. Nothing was stored, and a retry with the same key is
    /// safe.
    Unavailable,
    /// The server failed by a bug or a panic, which its log shows.
    Internal,
    /// A code that this version of the library doesn't know.
    #[serde(other)]
    Unknown,
}

impl Code {
    /// Returns the code as it is on the wire: `ROOM_FULL`; `INTERNAL` for an unknown one.
    pub const fn as_str(self) -> &'static str {
        match self {
            Code::InvalidRequest => "INVALID_REQUEST",
            Code::Unauthenticated => "UNAUTHENTICATED",
            Code::PermissionDenied => "PERMISSION_DENIED",
            Code::JoinDenied => "JOIN_DENIED",
            Code::NotInRoom => "NOT_IN_ROOM",
            Code::RoomNotFound => "ROOM_NOT_FOUND",
            Code::RoomExists => "ROOM_EXISTS",
            Code::RoomFull => "ROOM_FULL",
            Code::EventNotAllowed => "EVENT_NOT_ALLOWED",
            Code::ValidationFailed => "VALIDATION_FAILED",
            Code::Blocked => "BLOCKED",
            Code::TooMany => "TOO_MANY",
            Code::RateLimited => "RATE_LIMITED",
            Code::TooLarge => "TOO_LARGE",
            Code::Unavailable => "UNAVAILABLE",
            Code::Internal | Code::Unknown => "INTERNAL",
        }
    }

    /// Returns the status of an HTTP response with this code.
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
