//! What was said, and what became of it, for the application's log.

use serde_json::Value;
use tokio::time::Instant;

use super::{Cx, Flow, Middleware, Next};
use crate::{Event, Room};

/// Logs every event with `tracing`, on the level `INFO` and with the target `dialogue::events`: the room, the event, who
/// sent it, how long it took, and its number or why it was refused.
///
/// Nothing of the payload, unless [`payloads`](Self::payloads) is called; then without the fields that
/// [`redact`](Self::redact) names.
///
/// ```
/// use dialogue::Logger;
///
/// #[dialogue::event]
/// pub struct Message { pub text: String }
///
/// #[dialogue::event]
/// pub struct Invited { pub email: String }
///
/// dialogue::rooms! {
///     pub struct Acme;
///     chat: [Message, Invited] via [websocket];
/// }
///
/// let server = Acme::server().middleware(Logger::default().payloads().redact(["email"]));
/// # drop(server);
/// ```
#[derive(Debug, Default)]
pub struct Logger {
    payloads: bool,
    redacted: Vec<String>,
    anonymously: bool,
}

/// What stands for a field's value.
const REDACTED: &str = "[redacted]";

impl Logger {
    /// Without payloads.
    pub fn new() -> Self {
        Logger::default()
    }

    /// Logs payloads too, as JSON.
    #[must_use]
    pub fn payloads(self) -> Self {
        Logger { payloads: true, ..self }
    }

    /// Leaves out the values of fields with these names on the wire, however deep they stand.
    #[must_use]
    pub fn redact<T: Into<String>>(mut self, fields: impl IntoIterator<Item = T>) -> Self {
        self.redacted.extend(fields.into_iter().map(Into::into));
        self
    }

    /// Leaves out who sends an event.
    #[must_use]
    pub fn without_users(self) -> Self {
        Logger { anonymously: true, ..self }
    }

    fn payload<E: Event>(&self, event: &E) -> Option<String> {
        let mut payload = self.payloads.then(|| serde_json::to_value(event).ok())??;
        self.blank(&mut payload);
        Some(payload.to_string())
    }

    fn blank(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match self.redacted.contains(name) {
                        true => *value = REDACTED.into(),
                        false => self.blank(value),
                    }
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.blank(value)),
            _ => {}
        }
    }
}

impl<R: Room, E: Event> Middleware<R, E> for Logger {
    async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
        if !tracing::enabled!(target: "dialogue::events", tracing::Level::INFO) {
            return next.run(cx, event).await;
        }
        let (payload, began) = (self.payload(&event), Instant::now());
        let flow = next.run(cx, event).await;
        let from = if self.anonymously { REDACTED } else { cx.from() };
        let (room_id, event, took) = (cx.room_id(), E::NAME, began.elapsed());
        match &flow {
            Ok(accepted) => tracing::info!(
                target: "dialogue::events", room_id, event, from, ?took, seq = accepted.seq, payload, "accepted"
            ),
            Err(refusal) => tracing::info!(
                target: "dialogue::events", room_id, event, from, ?took, code = ?refusal.code, %refusal, payload, "refused"
            ),
        }
        flow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[dialogue::event]
    struct Invited {
        email: String,
        by: Vec<Inviter>,
    }

    #[dialogue::event]
    struct Inviter {
        email: String,
        name: String,
    }

    #[test]
    fn what_is_redacted_is_nowhere_in_the_payload() {
        let inviter = Inviter { email: "a@example.com".into(), name: "Alice".into() };
        let invited = Invited { email: "b@example.com".into(), by: vec![inviter] };
        let logger = Logger::new().payloads().redact(["email"]);
        let payload = logger.payload(&invited).expect("a payload");
        assert_eq!(payload, r#"{"by":[{"email":"[redacted]","name":"Alice"}],"email":"[redacted]"}"#);
        assert_eq!(Logger::new().payload(&invited), None);
    }
}
