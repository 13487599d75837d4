//! What stands where the feature `push` is off: nobody can have one.

use std::sync::Arc;

use crate::{Accepted, hub::RoomSpec, wire::Id};

#[derive(Debug)]
pub(crate) enum Dispatch {}

pub(crate) enum Offer {}

impl Dispatch {
    pub(crate) async fn offer(
        self: Arc<Self>,
        _: &Arc<RoomSpec>,
        _: &str,
        _: u8,
        _: &str,
        _: &str,
    ) -> Option<Offer> {
        match *self {}
    }

    pub(crate) fn outcomes(&self) -> Vec<(&'static str, Vec<(&'static str, u64)>)> {
        match *self {}
    }

    pub(crate) async fn settle(&self) {
        match *self {}
    }

    pub(crate) fn departed(&self, _: &Arc<str>, _: &Arc<str>) {
        match *self {}
    }
}

impl Offer {
    pub(crate) fn event_id(&self) -> Id {
        match *self {}
    }

    pub(crate) fn accepted(self, _: &Accepted) {
        match self {}
    }
}
