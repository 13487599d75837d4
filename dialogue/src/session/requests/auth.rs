//! `auth`: authenticates the connection by a token, or renews it by a newer token of the same user.

use serde_json::value::RawValue;

use super::{Apply, Session};
use crate::{Code, Refusal, identity::Credentials, wire::request::Auth};

impl Apply for Auth<'_> {
    async fn apply(self, session: &mut Session, id: Option<&RawValue>) -> Result<(), Refusal> {
        let headers = http::HeaderMap::new();
        let credentials = Credentials::new(&headers).with_token(Some(&self.token));
        let user = session.engine.admission.identity.authenticate(credentials).await?;
        let user = user.ok_or_else(|| Refusal::new(Code::Unauthenticated, "the token is not valid"))?;
        match &session.connection {
            Some(connection) if connection.user_id == user.id => {
                session.expires = user.expires().cloned();
                connection.renew(user);
                session.engine.leave_forbidden_rooms(connection).await;
            }
            Some(_) => return Err(Refusal::new(Code::PermissionDenied, "the token is another user's")),
            None => {
                session.identify(user).await?;
                session.send_connected();
            }
        }
        session.send_done(id);
        Ok(())
    }
}
