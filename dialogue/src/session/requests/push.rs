//! `registerPush` and `unregisterPush`: register a user's device for the notifications of rooms, over a WebSocket or
//! HTTP.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{Apply, Session, fields::object, invalid};
use crate::{
    Code, Refusal,
    engine::Engine,
    hooks::UntypedCaller,
    limits::RateLimitKey,
    live::not_found,
    push::{PushSubscription, PushTarget},
    room::Channel,
    wire::request::{RegisterPush, UnregisterPush},
};

/// The names of the built-in providers, whether this server has them or not.
const BUILT_IN_PROVIDERS: [&str; 3] = ["webpush", "fcm", "apns"];
/// The maximum of rooms in one request. [`Push::max_rooms_per_device`](crate::push::Push::max_rooms_per_device) may set
/// a lower one.
const MAX_ROOMS: usize = 1_000;
/// The maximum of bytes of a device's token.
const MAX_TOKEN_BYTES: usize = 4_096;
/// The maximum length of a language tag, as BCP 47 recommends.
const MAX_LANGUAGE_BYTES: usize = 35;

impl Apply for RegisterPush<'_> {
    async fn apply(self, session: &mut Session, id: Option<&RawValue>) -> Result<(), Refusal> {
        let actor = session.connection()?.actor();
        change_push(&session.engine, &actor, session.rate_limit_key.as_ref(), PushChange::Register, self)
            .await?;
        session.send_done(id);
        Ok(())
    }
}

impl Apply for UnregisterPush<'_> {
    async fn apply(self, session: &mut Session, id: Option<&RawValue>) -> Result<(), Refusal> {
        let actor = session.connection()?.actor();
        let UnregisterPush(device) = self;
        change_push(&session.engine, &actor, session.rate_limit_key.as_ref(), PushChange::Unregister, device)
            .await?;
        session.send_done(id);
        Ok(())
    }
}

/// The kind of a request about a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PushChange {
    Register,
    Unregister,
}

/// Carries out a request of a user, whom rate limits count by `rate_limit_key`.
///
/// # Errors
///
/// `INVALID_REQUEST` for an unknown provider or a target that it doesn't take, and `UNAVAILABLE` while the store is. Of
/// a registration also `ROOM_NOT_FOUND` for a room that isn't pushed, the refusal of a join, and `TOO_MANY`.
pub(crate) async fn change_push(
    engine: &Arc<Engine>,
    actor: &UntypedCaller,
    rate_limit_key: Option<&RateLimitKey>,
    change: PushChange,
    request: RegisterPush<'_>,
) -> Result<(), Refusal> {
    let target = target(&request)?;
    let language = language(&request)?;
    let RegisterPush { provider: name, rooms, .. } = request;
    if rooms.as_ref().is_some_and(|rooms| rooms.is_empty() || rooms.len() > MAX_ROOMS) {
        return Err(invalid(format!("`rooms` has to have 1 to {MAX_ROOMS} rooms")));
    }
    let provider = engine.push.as_ref().and_then(|push| Some((push, push.provider(&name)?)));
    if provider.is_none() && !BUILT_IN_PROVIDERS.contains(&&*name) {
        let shown: String = name.chars().take(64).collect();
        return Err(invalid(format!("`provider`: `{shown}` is unknown")));
    }
    let not_configured = || invalid(format!("`provider`: this server has no `{}`", &*name));
    if let Some(key) = rate_limit_key {
        engine.admission.limiter.device(key).await?;
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
        let room = engine.room(room_id)?;
        if !room.channels.contains(&Channel::WebPush) {
            return Err(not_found(room_id));
        }
        engine.admission.access.may_join(actor, room, room_id).await?;
    }
    let (push, provider) = provider.ok_or_else(not_configured)?;
    provider.check(&target).map_err(|reason| Refusal::new(Code::InvalidRequest, reason))?;
    let address = rate_limit_key.filter(|key| key.is_address()).map(RateLimitKey::to_string);
    push.register(&actor.user.id, address, &**provider, target, language, rooms).await
}

/// Returns the device's address at its provider.
fn target(request: &RegisterPush<'_>) -> Result<PushTarget, Refusal> {
    let provider = &*request.provider;
    let is_built_in = BUILT_IN_PROVIDERS.contains(&provider);
    if provider == "webpush" || (request.token.is_none() && !is_built_in) {
        let subscription = request.subscription.as_ref();
        let subscription = subscription.ok_or_else(|| invalid("`subscription` is missing"))?;
        return Ok(PushTarget::Subscription(object::<PushSubscription>("subscription", subscription.get())?));
    }
    match request.token.as_deref() {
        None => Err(invalid("`token` is missing")),
        Some(token) if token.is_empty() || token.len() > MAX_TOKEN_BYTES => {
            Err(invalid("`token` has to have 1 to 4096 bytes"))
        }
        Some(token) => Ok(PushTarget::Token(token.to_owned())),
    }
}

fn language(request: &RegisterPush<'_>) -> Result<Option<String>, Refusal> {
    let Some(language) = request.language.as_deref() else { return Ok(None) };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if language.is_empty() || language.len() > MAX_LANGUAGE_BYTES || !language.chars().all(plain) {
        return Err(invalid("`language` is a tag such as `pt-BR`"));
    }
    Ok(Some(language.to_owned()))
}
