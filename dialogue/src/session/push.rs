//! The requests `registerPush` and `unregisterPush`, which register a user's device for the notifications of rooms.
//! They come as frames of a session, or as bodies of the HTTP API.

use std::sync::Arc;

use super::{Request, check_depth, invalid};
use crate::{
    Code, Refusal,
    engine::{Engine, ServerBounds},
    hooks::UntypedCaller,
    hub::not_found,
    limits::RateLimitKey,
    push::{PushSubscription, PushTarget},
    room::Channel,
};

/// The fields of a `registerPush` or `unregisterPush` request, checked as far as that doesn't depend on the server's
/// providers.
pub(crate) struct PushRequest {
    provider: String,
    target: PushTarget,
    rooms: Option<Vec<String>>,
    language: Option<String>,
}

/// The kind of a [`PushRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PushChange {
    Register,
    Unregister,
}

/// The names of the built-in providers, whether this server has them or not.
const BUILT_IN_PROVIDERS: [&str; 3] = ["webpush", "fcm", "apns"];
/// The maximum of rooms in one request. [`Push::max_rooms_per_device`](crate::push::Push::max_rooms_per_device) may set
/// a lower one.
const MAX_ROOMS: usize = 1_000;
/// The maximum of bytes of a device's token.
const MAX_TOKEN_BYTES: usize = 4_096;

impl PushRequest {
    /// Reads a frame's fields.
    pub(super) fn read(request: &Request<'_>) -> Result<Self, Refusal> {
        let provider = request.provider()?.into_owned();
        let target = match provider.as_str() {
            "webpush" => PushTarget::Subscription(request.subscription::<PushSubscription>()?),
            _ if request.has_token() || BUILT_IN_PROVIDERS.contains(&provider.as_str()) => {
                let token = request.token()?;
                if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
                    return Err(invalid("`token` has to have 1 to 4096 bytes"));
                }
                PushTarget::Token(token.into_owned())
            }
            _ => PushTarget::Subscription(request.subscription::<PushSubscription>()?),
        };
        let rooms = request.rooms_if_any()?;
        if rooms.as_ref().is_some_and(|rooms| rooms.is_empty() || rooms.len() > MAX_ROOMS) {
            return Err(invalid(format!("`rooms` has to have 1 to {MAX_ROOMS} rooms")));
        }
        Ok(PushRequest { provider, target, rooms, language: request.language()? })
    }

    /// Parses the body of an HTTP request: a frame without `type`.
    pub(crate) fn parse(text: &str, bounds: &ServerBounds) -> Result<Self, Refusal> {
        let request = Request::parse(text, bounds)?;
        check_depth(text, bounds.max_json_depth)?;
        Self::read(&request)
    }
}

/// Applies a request of a user, whom rate limits count by `rate_limit_key`.
///
/// # Errors
///
/// `INVALID_REQUEST` for an unknown provider or a target that it doesn't take, and `UNAVAILABLE` while the store is. Of
/// a registration also `ROOM_NOT_FOUND` for a room that isn't pushed, the refusal of a join, and `TOO_MANY`.
pub(crate) async fn apply(
    engine: &Arc<Engine>,
    actor: &UntypedCaller,
    rate_limit_key: Option<&RateLimitKey>,
    change: PushChange,
    request: PushRequest,
) -> Result<(), Refusal> {
    let PushRequest { provider: name, target, rooms, language } = request;
    let provider = engine.push.as_ref().and_then(|push| Some((push, push.provider(&name)?)));
    if provider.is_none() && !BUILT_IN_PROVIDERS.contains(&name.as_str()) {
        let shown: String = name.chars().take(64).collect();
        return Err(invalid(format!("`provider`: `{shown}` is unknown")));
    }
    let not_configured = || invalid(format!("`provider`: this server has no `{name}`"));
    if let Some(key) = rate_limit_key {
        engine.limiter.device(key).await?;
    }
    if change == PushChange::Unregister {
        let (push, provider) = provider.ok_or_else(not_configured)?;
        return push.unregister(&actor.user.id, &**provider, &target, rooms.as_deref()).await;
    }
    let mut rooms = rooms.ok_or_else(|| invalid("`rooms` is missing"))?;
    rooms.sort_unstable();
    rooms.dedup();
    if let Some((push, _)) = provider {
        // Before the application's hook runs for each of them.
        push.check_room_count(&rooms)?;
    }
    for room_id in &rooms {
        let (room, _) = engine.room(room_id)?;
        if !room.channels.contains(&Channel::WebPush) {
            return Err(not_found(room_id));
        }
        engine.may_join(actor, room, room_id).await?;
    }
    let (push, provider) = provider.ok_or_else(not_configured)?;
    provider.check(&target).map_err(|reason| Refusal::new(Code::InvalidRequest, reason))?;
    let address = rate_limit_key.filter(|key| key.is_address()).map(RateLimitKey::to_string);
    push.register(&actor.user.id, address, &**provider, target, language, rooms).await
}
