//! Whoever asks for a room's notifications, on one device.

use std::sync::Arc;

use super::{Request, check_depth, invalid};
use crate::{
    Channel, Code, Refusal,
    engine::{Engine, ServerBounds},
    gate::RateLimitKey,
    hooks::UntypedCaller,
    hub::not_found,
    push::{Subscription, Target},
};

/// Of `registerPush` and `unregisterPush`, as far as it can be read without knowing the server.
pub(crate) struct Wanted {
    provider: String,
    target: Target,
    rooms: Option<Vec<String>>,
    language: Option<String>,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Register,
    Unregister,
}

/// Providers that there may be, on this server or another.
const KNOWN: [&str; 3] = ["webpush", "fcm", "apns"];
/// Rooms of one request: no more than a device may be registered for.
const MOST_ROOMS: usize = 1_000;
/// Bytes of a device's token.
const LONGEST_TOKEN: usize = 4_096;

impl Wanted {
    /// Reads what a frame says.
    pub(super) fn read(request: &Request<'_>) -> Result<Self, Refusal> {
        let provider = request.provider()?.into_owned();
        let target = match provider.as_str() {
            "webpush" => Target::Subscription(request.subscription::<Subscription>()?),
            _ if request.has_token() || KNOWN.contains(&provider.as_str()) => {
                let token = request.token()?;
                if token.is_empty() || token.len() > LONGEST_TOKEN {
                    return Err(invalid("`token` is 1 to 4096 bytes"));
                }
                Target::Token(token.into_owned())
            }
            _ => Target::Subscription(request.subscription::<Subscription>()?),
        };
        let rooms = request.rooms_if_any()?;
        if rooms.as_ref().is_some_and(|rooms| rooms.is_empty() || rooms.len() > MOST_ROOMS) {
            return Err(invalid(format!("`rooms` are 1 to {MOST_ROOMS}")));
        }
        Ok(Wanted { provider, target, rooms, language: request.language()? })
    }

    /// Reads the body of an HTTP request: a frame without `type`.
    pub(crate) fn parse(text: &str, bounds: &ServerBounds) -> Result<Self, Refusal> {
        let request = Request::parse(text, bounds)?;
        check_depth(text, bounds.max_json_depth)?;
        Self::read(&request)
    }
}

/// Does what is wanted, for a user whom limits count as `rate_limit_key`.
///
/// # Errors
///
/// `INVALID_REQUEST` for a provider that there isn't or a target that isn't its; of a registration, `ROOM_NOT_FOUND` for a
/// room that isn't pushed, what a join would be refused, and `TOO_MANY`; `UNAVAILABLE` while the store is.
pub(crate) async fn change(
    engine: &Arc<Engine>,
    (who, rate_limit_key): (&UntypedCaller, Option<&RateLimitKey>),
    change: Change,
    wanted: Wanted,
) -> Result<(), Refusal> {
    let Wanted { provider: name, target, rooms, language } = wanted;
    let provider = engine.push.as_ref().and_then(|push| Some((push, push.provider(&name)?)));
    if provider.is_none() && !KNOWN.contains(&name.as_str()) {
        let shown: String = name.chars().take(64).collect();
        return Err(invalid(format!("`provider`: there is no `{shown}`")));
    }
    let none = || invalid(format!("`provider`: this server has no `{name}`"));
    if let Some(rate_limit_key) = rate_limit_key {
        engine.limiter.device(rate_limit_key).await?;
    }
    if change == Change::Unregister {
        let (push, provider) = provider.ok_or_else(none)?;
        return push.unregister(&who.user.id, &**provider, &target, rooms.as_deref()).await;
    }
    let mut rooms = rooms.ok_or_else(|| invalid("`rooms` is missing"))?;
    rooms.sort_unstable();
    rooms.dedup();
    if let Some((push, _)) = provider {
        // Before the application is asked about each of them.
        push.has_space_for(&rooms)?;
    }
    for room_id in &rooms {
        let (room, _) = engine.room(room_id)?;
        if !room.channels.contains(&Channel::WebPush) {
            return Err(not_found(room_id));
        }
        engine.may_join(who, room, room_id).await?;
    }
    let (push, provider) = provider.ok_or_else(none)?;
    provider.check(&target).map_err(|why| Refusal::new(Code::InvalidRequest, why))?;
    let address =
        rate_limit_key.filter(|rate_limit_key| rate_limit_key.is_address()).map(RateLimitKey::to_string);
    push.register(&who.user.id, address, &**provider, target, language, rooms).await
}
