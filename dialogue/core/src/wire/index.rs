//! The indices of declared rooms and events: ids of one process, in place of names.

/// The maximum of events that a room can carry, which `rooms!` enforces: the bits of an [`EventSet`](super::EventSet).
const MAX_EVENTS: usize = 128;

/// The index of an event in the declaration of its room (`Room::EVENTS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventIndex(u8);

impl EventIndex {
    /// The index of events that the room doesn't declare: a store may hold those of another version.
    pub const UNDECLARED: EventIndex = EventIndex(u8::MAX);

    /// Returns the index for a place in the declaration; [`UNDECLARED`](Self::UNDECLARED) for one beyond all events.
    pub const fn at(place: usize) -> Self {
        if place < MAX_EVENTS { EventIndex(place as u8) } else { Self::UNDECLARED }
    }

    /// Returns the event's bit in an [`EventSet`](super::EventSet).
    pub(super) fn bit(self) -> u32 {
        self.0.into()
    }

    /// Returns the event's entry of a list that has one for each declared event.
    pub fn entry_of<T>(self, per_event: &[T]) -> Option<&T> {
        per_event.get(usize::from(self.0))
    }

    /// Returns the event's entry of a list that has one for each declared event.
    pub fn entry_of_mut<T>(self, per_event: &mut [T]) -> Option<&mut T> {
        per_event.get_mut(usize::from(self.0))
    }
}

/// The index of a room among the declared rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomIndex(usize);

impl RoomIndex {
    /// Returns the index for a place in the declaration.
    pub const fn at(place: usize) -> Self {
        RoomIndex(place)
    }

    /// Returns the room's entry of a list that has one for each declared room.
    pub fn entry_of<T>(self, per_room: &[T]) -> Option<&T> {
        per_room.get(self.0)
    }
}
