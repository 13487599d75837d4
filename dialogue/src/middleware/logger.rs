//! Middleware that logs events and their outcomes.

use serde_json::Value;
use tokio::time::Instant;

use super::{Cx, Flow, Middleware, Next};
use crate::{Event, Room};

/// Logs every event with `tracing`, at level `INFO` with the target `dialogue::events`: the room, the event, the
/// sender, the time taken, and the event's `seq` or the refusal.
///
/// Payloads are logged only after [`payloads`](Self::payloads), without the values of the fields that
/// [`redact`](Self::redact) names.
///
/// ```
/// use dialogue::middleware::Logger;
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
    hides_users: bool,
}

/// The text that replaces a redacted value.
const REDACTED: &str = "[redacted]";

impl Logger {
    /// Creates a logger that logs no payloads.
    pub fn new() -> Self {
        Logger::default()
    }

    /// Also logs payloads, as JSON.
    #[must_use]
    pub fn payloads(self) -> Self {
        Logger { payloads: true, ..self }
    }

    /// Redacts the values of fields with these wire names, at every depth.
    #[must_use]
    pub fn redact<T: Into<String>>(mut self, fields: impl IntoIterator<Item = T>) -> Self {
        self.redacted.extend(fields.into_iter().map(Into::into));
        self
    }

    /// Redacts the sender.
    #[must_use]
    pub fn without_users(self) -> Self {
        Logger { hides_users: true, ..self }
    }

    fn payload<E: Event>(&self, event: &E) -> Option<String> {
        let mut payload = self.payloads.then(|| serde_json::to_value(event).ok())??;
        self.redact_value(&mut payload);
        Some(payload.to_string())
    }

    fn redact_value(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match self.redacted.contains(name) {
                        true => *value = REDACTED.into(),
                        false => self.redact_value(value),
                    }
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.redact_value(value)),
            _ => {}
        }
    }
}

impl<R: Room, E: Event> Middleware<R, E> for Logger {
    async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
        if !tracing::enabled!(target: "dialogue::events", tracing::Level::INFO) {
            return next.run(cx, event).await;
        }
        let (payload, started) = (self.payload(&event), Instant::now());
        let flow = next.run(cx, event).await;
        let from = if self.hides_users { REDACTED } else { cx.from() };
        let (room_id, event, took) = (cx.room_id(), E::NAME, started.elapsed());
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
    fn redacted_fields_are_nowhere_in_the_payload() {
        let inviter = Inviter { email: "a@example.com".into(), name: "Alice".into() };
        let invited = Invited { email: "b@example.com".into(), by: vec![inviter] };
        let logger = Logger::new().payloads().redact(["email"]);
        let payload = logger.payload(&invited).expect("a payload");
        assert_eq!(payload, r#"{"by":[{"email":"[redacted]","name":"Alice"}],"email":"[redacted]"}"#);
        assert_eq!(Logger::new().payload(&invited), None);
    }
}
