//! A room as it is declared, and an instance as whoever made it described it.

use std::sync::Arc;

use crate::{
    Channel, Code, DeliveryClass, IdentityRequirement, Refusal, Retention, RoomOptions,
    identity::is_anonymous,
    observe::{Meter, Traces},
    room::EventKind,
    wire::EventSet,
};

/// What `rooms!` says of a room, without its type.
#[derive(Debug)]
pub(crate) struct RoomDecl {
    /// Its place in the declaration.
    pub(crate) index: usize,
    pub(crate) name: &'static str,
    pub(crate) keyed: bool,
    pub(crate) options: RoomOptions,
    pub(crate) asked: IdentityRequirement,
    pub(crate) channels: &'static [Channel],
    pub(crate) events: Vec<EventKind>,
    /// What is measured of its instances, if anything.
    pub(crate) meter: Meter,
    /// What its events belong to.
    pub(crate) traces: Traces,
}

/// What whoever made an instance says of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Info {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) max_size: Option<u32>,
    pub(crate) created_by: Option<Arc<str>>,
    /// Made on purpose, not by a first join: it stays though nobody is in it.
    pub(crate) created: bool,
    /// Made by the application's backend: how many its creator made doesn't matter. Not kept.
    pub(crate) unbounded: bool,
}

impl Info {
    /// Whether somebody made it on purpose who can be told from others.
    pub(in crate::hub) fn is_kept(&self) -> bool {
        self.created && !self.created_by.as_deref().is_some_and(is_anonymous)
    }
}

impl RoomDecl {
    pub(crate) fn event(&self, name: &str) -> Option<u8> {
        self.events.iter().position(|kind| kind.name == name).and_then(|index| u8::try_from(index).ok())
    }

    pub(crate) fn event_name(&self, event: u8) -> &'static str {
        self.events.get(usize::from(event)).map_or("", |kind| kind.name)
    }

    /// The set that a list of names says; `*` is all.
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

    /// How many connections an instance holds at most.
    pub(super) fn max_size(&self, info: &Info) -> Option<u32> {
        match (self.options.capacity, info.max_size) {
            (Some(declared), Some(own)) => Some(declared.min(own)),
            (declared, own) => declared.or(own),
        }
    }

    /// What each kind of event keeps of itself, where it is declared to.
    pub(super) fn own_retention(&self) -> Vec<Option<Retention>> {
        self.events.iter().map(|kind| kind.retention).collect()
    }

    /// Kinds of event that are kept by their number, and how many of each.
    pub(super) fn counted(&self) -> impl Iterator<Item = (u8, u64)> + '_ {
        self.events
            .iter()
            .enumerate()
            .filter_map(|(event, kind)| Some((u8::try_from(event).ok()?, kind.retention?.events?)))
    }

    /// The names of a set of events; `None` for all.
    pub(super) fn names_of(&self, wanted: EventSet) -> Option<Vec<Arc<str>>> {
        let named = self
            .events
            .iter()
            .enumerate()
            .map(|(event, kind)| (u8::try_from(event).unwrap_or(u8::MAX), kind));
        let names: Vec<_> = named
            .filter(|(event, _)| wanted.contains(*event))
            .map(|(_, kind)| Arc::from(kind.name))
            .collect();
        (names.len() < self.events.len()).then_some(names)
    }

    /// The events that a log may hold.
    pub(super) fn numbered(&self) -> EventSet {
        let kinds = self.events.iter().enumerate();
        let numbered = kinds.filter(|(_, kind)| kind.class != DeliveryClass::Ephemeral);
        numbered
            .fold(EventSet::NONE, |set, (event, _)| u8::try_from(event).map_or(set, |event| set.with(event)))
    }

    /// What a join without `events` subscribes to.
    pub(crate) fn default_events(&self) -> EventSet {
        let Some(names) = self.options.subscribe else { return EventSet::ALL };
        self.events_named(names.iter().copied()).unwrap_or(EventSet::ALL)
    }
}
