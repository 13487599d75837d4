//! The values of labels that come from this library: the sources of events and requests, the reasons for which
//! connections end, the outcomes of triggers, and the calls to the store and the backplane.

use crate::Code;

/// The way by which an event, a request or a connection reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    WebSocket,
    Sse,
    Http,
    /// The application's own code.
    Server,
    /// Another node, which has counted it.
    Node,
}

/// The reason for which a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseReason {
    Closed,
    Lost,
    TooSlow,
    Silent,
    Removed,
    NoToken,
    Expired,
    Refused,
    RateLimited,
    Malformed,
    Draining,
}

/// The outcome of an attempt to publish an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TriggerOutcome {
    Accepted,
    Duplicate,
    Blocked,
    Limited,
    Invalid,
    Denied,
    Unavailable,
    Failed,
}

/// A method of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreCall {
    Append,
    Head,
    Read,
    Keys,
    Trim,
    Remove,
    Put,
    Get,
    Scan,
}

/// A method of the backplane that a store doesn't have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BackplaneCall {
    Publish,
    Send,
    Heads,
    UpdateMembers,
    Members,
    CompareAndSwap,
}

impl Source {
    pub(super) const CONNECTIONS: [Source; 2] = [Source::WebSocket, Source::Sse];
    pub(super) const TRIGGERS: [Source; 3] = [Source::WebSocket, Source::Http, Source::Server];
    pub(super) const REQUESTS: [Source; 3] = [Source::WebSocket, Source::Sse, Source::Http];

    pub(super) fn label(self) -> &'static str {
        match self {
            Source::WebSocket => "websocket",
            Source::Sse => "sse",
            Source::Http => "http",
            Source::Server => "server",
            Source::Node => "node",
        }
    }
}

impl CloseReason {
    pub(super) const ALL: [CloseReason; 11] = [
        CloseReason::Closed,
        CloseReason::Lost,
        CloseReason::TooSlow,
        CloseReason::Silent,
        CloseReason::Removed,
        CloseReason::NoToken,
        CloseReason::Expired,
        CloseReason::Refused,
        CloseReason::RateLimited,
        CloseReason::Malformed,
        CloseReason::Draining,
    ];

    /// Returns the text for the application's hooks and for the close frame.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            CloseReason::Closed => "the client closed",
            CloseReason::Lost => "the connection was lost",
            CloseReason::TooSlow => "reads too slowly",
            CloseReason::Silent => "no pong in time",
            CloseReason::Removed => "removed by the server",
            CloseReason::NoToken => "no valid token",
            CloseReason::Expired => "the token expired",
            CloseReason::Refused => "refused",
            CloseReason::RateLimited => "kept exceeding limits",
            CloseReason::Malformed => "broke the protocol",
            CloseReason::Draining => "the node is draining",
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            CloseReason::Closed => "closed",
            CloseReason::Lost => "lost",
            CloseReason::TooSlow => "too_slow",
            CloseReason::Silent => "silent",
            CloseReason::Removed => "removed",
            CloseReason::NoToken => "no_token",
            CloseReason::Expired => "expired",
            CloseReason::Refused => "refused",
            CloseReason::RateLimited => "limited",
            CloseReason::Malformed => "malformed",
            CloseReason::Draining => "draining",
        }
    }
}

impl TriggerOutcome {
    pub(super) const ALL: [TriggerOutcome; 8] = [
        TriggerOutcome::Accepted,
        TriggerOutcome::Duplicate,
        TriggerOutcome::Blocked,
        TriggerOutcome::Limited,
        TriggerOutcome::Invalid,
        TriggerOutcome::Denied,
        TriggerOutcome::Unavailable,
        TriggerOutcome::Failed,
    ];

    pub(super) fn of(code: Code) -> Self {
        match code {
            Code::Blocked => TriggerOutcome::Blocked,
            Code::RateLimited => TriggerOutcome::Limited,
            Code::InvalidRequest | Code::ValidationFailed | Code::TooLarge => TriggerOutcome::Invalid,
            Code::Unauthenticated
            | Code::PermissionDenied
            | Code::JoinDenied
            | Code::NotInRoom
            | Code::EventNotAllowed => TriggerOutcome::Denied,
            Code::Unavailable => TriggerOutcome::Unavailable,
            _ => TriggerOutcome::Failed,
        }
    }

    pub(super) fn index(self) -> usize {
        Self::ALL.iter().position(|other| *other == self).unwrap_or(Self::ALL.len())
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            TriggerOutcome::Accepted => "accepted",
            TriggerOutcome::Duplicate => "duplicate",
            TriggerOutcome::Blocked => "blocked",
            TriggerOutcome::Limited => "limited",
            TriggerOutcome::Invalid => "invalid",
            TriggerOutcome::Denied => "denied",
            TriggerOutcome::Unavailable => "unavailable",
            TriggerOutcome::Failed => "failed",
        }
    }
}

impl StoreCall {
    pub(super) const ALL: [StoreCall; 9] = [
        StoreCall::Append,
        StoreCall::Head,
        StoreCall::Read,
        StoreCall::Keys,
        StoreCall::Trim,
        StoreCall::Remove,
        StoreCall::Put,
        StoreCall::Get,
        StoreCall::Scan,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            StoreCall::Append => "append",
            StoreCall::Head => "head",
            StoreCall::Read => "read",
            StoreCall::Keys => "keys",
            StoreCall::Trim => "trim",
            StoreCall::Remove => "remove",
            StoreCall::Put => "put",
            StoreCall::Get => "get",
            StoreCall::Scan => "scan",
        }
    }
}

impl BackplaneCall {
    pub(super) const ALL: [BackplaneCall; 6] = [
        BackplaneCall::Publish,
        BackplaneCall::Send,
        BackplaneCall::Heads,
        BackplaneCall::UpdateMembers,
        BackplaneCall::Members,
        BackplaneCall::CompareAndSwap,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            BackplaneCall::Publish => "publish",
            BackplaneCall::Send => "send",
            BackplaneCall::Heads => "heads",
            BackplaneCall::UpdateMembers => "update_members",
            BackplaneCall::Members => "members",
            BackplaneCall::CompareAndSwap => "compare_and_swap",
        }
    }
}

/// Returns the element of `row` at the index that `wanted` has in `all`.
pub(super) fn element_for<'a, K: PartialEq, T>(all: &[K], wanted: K, row: &'a [T]) -> Option<&'a T> {
    all.iter().position(|other| *other == wanted).and_then(|index| row.get(index))
}
