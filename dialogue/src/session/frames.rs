//! The frames of a connection: each is parsed and counted, and its request carried out.

use std::sync::{Arc, atomic::Ordering};

use serde_json::value::RawValue;

use super::{
    FrameOutcome, Session,
    requests::{self, Fields, check_depth},
    unidentified,
};
use crate::{
    Code, Refusal,
    drain::draining,
    wire::request::{Auth, ClientRequest, Trigger},
};

impl Session {
    /// Handles one text frame. Every request with an `id` gets exactly one reply.
    pub(crate) async fn handle(&mut self, text: &str) -> FrameOutcome {
        match Arc::get_mut(&mut self.is_submitted) {
            Some(is_submitted) => *is_submitted.get_mut() = false,
            // An earlier event is still under way, without its frame.
            None => self.is_submitted = Arc::default(),
        }
        let parsed = Fields::parse(text).and_then(|fields| fields.id().map(|id| (fields, id)));
        let (fields, id) = match parsed {
            Ok(parsed) => parsed,
            Err(refusal) => return Box::pin(self.reject(refusal)).await,
        };
        if self.engine.drain.is_on() {
            return self.refuse(id, &draining());
        }
        let counted =
            self.count().await.and_then(|()| check_depth(text, self.engine.bounds.requests.max_json_depth));
        let answered = match counted {
            Ok(()) => self.answer(&fields, id).await,
            refused => refused,
        };
        match answered {
            Ok(()) => FrameOutcome::Continue,
            Err(refusal) => match (self.refuse(id, &refusal), refusal.code) {
                (FrameOutcome::RateLimited, _) => FrameOutcome::RateLimited,
                _ if self.connection.is_some() => FrameOutcome::Continue,
                _ if self.is_refused => FrameOutcome::Refused,
                // A client gets one attempt to authenticate.
                (_, Code::Unauthenticated) if fields.kind().is_ok_and(|kind| kind == Auth::TYPE) => {
                    FrameOutcome::Unauthenticated
                }
                _ => FrameOutcome::Continue,
            },
        }
    }

    /// Refuses a frame whose handling was cancelled because the node drains; nothing was stored. Sends no reply if the
    /// event may have been stored, because it was already handed to the room.
    pub(crate) fn abandon_frame(&mut self, text: &str) -> FrameOutcome {
        let is_submitted = self.is_submitted.load(Ordering::Relaxed);
        let id = Fields::parse(text).and_then(|fields| fields.id());
        match id {
            Ok(id) if !is_submitted => self.refuse(id, &draining()),
            _ => FrameOutcome::Continue,
        }
    }

    /// Refuses a malformed frame, which is counted as a request.
    pub(crate) async fn reject(&mut self, refusal: Refusal) -> FrameOutcome {
        let refusal = self.count().await.err().unwrap_or(refusal);
        self.refuse(None, &refusal)
    }

    async fn answer(&mut self, fields: &Fields<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let kind = fields.kind()?;
        if self.connection.is_none() && kind != Auth::TYPE {
            return Err(unidentified());
        }
        match &*kind {
            Trigger::TYPE => requests::trigger(self, fields, id).await,
            // Boxed, so that an idle connection holds no memory for it.
            kind => Box::pin(requests::apply(self, kind, fields, id)).await,
        }
    }
}
