//! The layer that returns the token of an anonymous user to a caller for whose request the user id was generated.

use std::sync::{Arc, OnceLock};

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
};
use http::{Extensions, HeaderName, HeaderValue};

use crate::{engine::Engine, identity::User};

/// The response header with the token of a generated user id.
pub(super) const TOKEN: HeaderName = HeaderName::from_static("dialogue-anonymous-token");

/// A request extension: the slot into which authentication puts the token.
#[derive(Clone, Default)]
struct TokenSlot(Arc<OnceLock<Arc<str>>>);

/// Adds the layer to `routes`: responses of any status carry the token of a user id that was generated for the request.
pub(crate) fn with_anonymous_token(routes: Router<Arc<Engine>>) -> Router<Arc<Engine>> {
    routes.route_layer(from_fn(add_token))
}

/// Records the user whom a request was authenticated as.
pub(super) fn record(extensions: &Extensions, user: &User) {
    if let (true, Some(token), Some(slot)) =
        (user.is_new, &user.anonymous_token, extensions.get::<TokenSlot>())
    {
        slot.0.get_or_init(|| Arc::clone(token));
    }
}

async fn add_token(mut request: Request, next: Next) -> Response {
    let slot = TokenSlot::default();
    request.extensions_mut().insert(slot.clone());
    let mut response = next.run(request).await;
    if let Some(token) = slot.0.get().and_then(|token| HeaderValue::from_str(token).ok()) {
        response.headers_mut().insert(TOKEN, token);
    }
    response
}
