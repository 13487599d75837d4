//! The token of an id that was made for a request: the answer carries it, whatever it says.

use std::sync::{Arc, OnceLock};

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
};
use http::{Extensions, HeaderName, HeaderValue};

use crate::{engine::Engine, identity::User};

/// The header that a caller without a token finds its `anonymousToken` in.
pub(super) const TOKEN: HeaderName = HeaderName::from_static("dialogue-anonymous-token");

/// Where the token is put once it is known who sends a request.
#[derive(Clone, Default)]
struct Given(Arc<OnceLock<Arc<str>>>);

/// Makes the answers of `routes` carry the tokens of ids that were made for their requests.
pub(crate) fn named(routes: Router<Arc<Engine>>) -> Router<Arc<Engine>> {
    routes.route_layer(from_fn(answer))
}

/// Notes that a request is of `user`.
pub(super) fn note(extensions: &Extensions, user: &User) {
    if let (true, Some(token), Some(given)) = (user.is_new, &user.anonymous_token, extensions.get::<Given>())
    {
        given.0.get_or_init(|| Arc::clone(token));
    }
}

async fn answer(mut request: Request, next: Next) -> Response {
    let given = Given::default();
    request.extensions_mut().insert(given.clone());
    let mut response = next.run(request).await;
    if let Some(token) = given.0.get().and_then(|token| HeaderValue::from_str(token).ok()) {
        response.headers_mut().insert(TOKEN, token);
    }
    response
}
