//! Counters of refused requests, by source and error code.

use super::{
    family::Series,
    instrument::Counter,
    labels::{Source, element_for},
};
use crate::Code;

/// The number of refused requests, for each source and error code.
#[derive(Debug, Default)]
pub(super) struct RefusalCounters([[Counter; CODES.len()]; Source::REQUESTS.len()]);

const CODES: [Code; 16] = [
    Code::InvalidRequest,
    Code::Unauthenticated,
    Code::PermissionDenied,
    Code::JoinDenied,
    Code::NotInRoom,
    Code::RoomNotFound,
    Code::RoomExists,
    Code::RoomFull,
    Code::EventNotAllowed,
    Code::ValidationFailed,
    Code::Blocked,
    Code::TooMany,
    Code::RateLimited,
    Code::TooLarge,
    Code::Unavailable,
    Code::Internal,
];

impl RefusalCounters {
    pub(super) fn count(&self, source: Source, code: Code) {
        let codes = element_for(&Source::REQUESTS, source, &self.0);
        codes.and_then(|codes| element_for(&CODES, code, codes)).iter().for_each(|refused| refused.add(1));
    }
    /// Returns one series for each source and code.
    pub(super) fn series(&self) -> impl Iterator<Item = Series> {
        Source::REQUESTS.iter().zip(&self.0).flat_map(|(source, codes)| {
            let codes = CODES.iter().zip(codes);
            codes.map(|(code, refused)| Series {
                labels: vec![source.label(), code_label(*code)],
                value: refused.read(),
            })
        })
    }
}

fn code_label(code: Code) -> &'static str {
    match code {
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
