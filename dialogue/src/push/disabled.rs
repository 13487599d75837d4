//! Stand-ins for the types of the push module in a build without the feature `push`. They are uninhabited, so that
//! ingest and the engine compile without a `cfg` at each call.

use std::sync::Arc;

use crate::{
    live::RoomSpec,
    wire::{Accepted, EventIndex, Id},
};

#[derive(Debug)]
pub(crate) enum PushDispatcher {}

pub(crate) enum PushOffer {}

impl PushDispatcher {
    pub(crate) async fn offer(
        self: Arc<Self>,
        _: &Arc<RoomSpec>,
        _: &str,
        _: EventIndex,
        _: &str,
        _: &str,
    ) -> Option<PushOffer> {
        match *self {}
    }

    pub(crate) fn outcome_counts(&self) -> Vec<(&'static str, Vec<(&'static str, u64)>)> {
        match *self {}
    }

    pub(crate) async fn drain(&self) {
        match *self {}
    }

    pub(crate) fn user_left(&self, _: &Arc<str>, _: &Arc<str>) {
        match *self {}
    }
}

impl PushOffer {
    pub(crate) fn event_id(&self) -> Id {
        match *self {}
    }

    pub(crate) fn accepted(self, _: &Accepted) {
        match self {}
    }
}
