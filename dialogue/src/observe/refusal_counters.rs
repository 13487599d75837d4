//! Counters of refused requests, by source and error code.

use super::{
    Series,
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
            codes.map(|(code, refused)| Series::new(vec![source.label(), code.as_str()], refused.read()))
        })
    }
}
