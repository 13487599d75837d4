//! The declaration of a room at run time, and the info of one instance of it.

use std::sync::Arc;

use crate::{
    Code, Refusal,
    event::DeliveryClass,
    identity::{User, is_anonymous, provides::IdentityRequirement},
    observe::{Meter, Traces},
    room::{Channel, EventKind, Retention, RoomOptions},
    wire::{EventIndex, EventSet, RoomIndex},
};

/// The declaration of a room by `rooms!`, without its type.
#[derive(Debug)]
pub(crate) struct RoomSpec {
    pub(crate) index: RoomIndex,
    pub(crate) name: &'static str,
    pub(crate) keyed: bool,
    pub(crate) options: RoomOptions,
    pub(crate) identity: IdentityRequirement,
    pub(crate) channels: &'static [Channel],
    pub(crate) events: Vec<EventKind>,
    /// The metrics of its instances, if any are collected.
    pub(crate) meter: Meter,
    /// The spans of its events.
    pub(crate) traces: Traces,
}

/// The description of a room instance by its creator.
#[derive(Debug, Clone, Default)]
pub(crate) struct RoomInstanceInfo {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) max_size: Option<u32>,
    pub(crate) created_by: Option<Arc<str>>,
    /// Set if the room was created explicitly, rather than by a first join: it is then kept while it has no member.
    pub(crate) created: bool,
    /// Set if the application created it, in whose case the number of rooms per user isn't bounded. Not stored.
    pub(crate) unbounded: bool,
}

impl RoomInstanceInfo {
    /// Returns whether the room was created explicitly, and not by an anonymous user.
    pub(in crate::live) fn is_permanent(&self) -> bool {
        self.created && !self.created_by.as_deref().is_some_and(is_anonymous)
    }
}

impl RoomSpec {
    pub(crate) fn event(&self, name: &str) -> Option<EventIndex> {
        self.events.iter().position(|kind| kind.name == name).map(EventIndex::at)
    }

    /// Returns the properties of an event; `None` for one that the room doesn't declare.
    pub(crate) fn kind(&self, event: EventIndex) -> Option<&EventKind> {
        event.entry_of(&self.events)
    }

    pub(crate) fn event_name(&self, event: EventIndex) -> &'static str {
        self.kind(event).map_or("", |kind| kind.name)
    }

    /// Checks that a user has the role and the identity that the room requires.
    ///
    /// # Errors
    ///
    /// `JOIN_DENIED`.
    pub(crate) fn admits(&self, user: &User) -> Result<(), Refusal> {
        if let Some(role) = self.options.role.filter(|role| !user.has_role(role)) {
            return Err(Refusal::join_denied(format!("room `{}` needs the role `{role}`", self.name)));
        }
        self.identity.identity_of(user, self.name).map(drop)
    }

    /// Returns the set of the named events; `*` stands for all.
    pub(crate) fn events_named<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<EventSet, Refusal> {
        names.into_iter().try_fold(EventSet::NONE, |set, name| match (name, self.event(name)) {
            ("*", _) => Ok(EventSet::ALL),
            (_, Some(event)) => Ok(set.with(event)),
            (_, None) => Err(self.not_carried(name)),
        })
    }

    pub(crate) fn not_carried(&self, event: &str) -> Refusal {
        Refusal::new(Code::EventNotAllowed, format!("room `{}` does not carry `{event}`", self.name))
    }

    /// Returns the display name of a room instance.
    pub(super) fn display_name<'a>(&self, info: &'a RoomInstanceInfo) -> &'a str {
        info.name.as_deref().or(self.options.title).unwrap_or(self.name)
    }

    /// Returns the bound on the connections of a room instance.
    pub(super) fn max_size(&self, info: &RoomInstanceInfo) -> Option<u32> {
        match (self.options.capacity, info.max_size) {
            (Some(declared), Some(own)) => Some(declared.min(own)),
            (declared, own) => declared.or(own),
        }
    }

    /// Returns the retention of each kind of event that declares its own.
    pub(super) fn own_retention(&self) -> Vec<Option<Retention>> {
        self.events.iter().map(|kind| kind.retention).collect()
    }

    /// Returns the kinds of event that declare a bound on their number, with that bound.
    pub(super) fn counted(&self) -> impl Iterator<Item = (EventIndex, u64)> + '_ {
        self.indexed().filter_map(|(event, kind)| Some((event, kind.retention?.events?)))
    }

    /// Returns the events with their indices.
    fn indexed(&self) -> impl Iterator<Item = (EventIndex, &EventKind)> {
        self.events.iter().enumerate().map(|(place, kind)| (EventIndex::at(place), kind))
    }

    /// Returns the names of a set of events; `None` for all.
    pub(super) fn names_of(&self, filter: EventSet) -> Option<Vec<Arc<str>>> {
        let named = self.indexed().filter(|(event, _)| filter.contains(*event));
        let names: Vec<_> = named.map(|(_, kind)| Arc::from(kind.name)).collect();
        (names.len() < self.events.len()).then_some(names)
    }

    /// Returns the events that are stored in the log.
    pub(super) fn numbered(&self) -> EventSet {
        let numbered = self.indexed().filter(|(_, kind)| kind.class != DeliveryClass::Ephemeral);
        numbered.fold(EventSet::NONE, |set, (event, _)| set.with(event))
    }

    /// Returns the events that a join without `events` subscribes to.
    pub(crate) fn default_events(&self) -> EventSet {
        let Some(names) = self.options.subscribe else { return EventSet::ALL };
        self.events_named(names.iter().copied()).unwrap_or(EventSet::ALL)
    }
}
