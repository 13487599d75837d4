//! The bounds of the memory of events that are to be pushed, and the unit in which it is counted.

/// The unit in which memory is counted. Each event takes at least one.
pub(super) const UNIT_BYTES: usize = 1 << 10;
/// The memory of new events: beyond it, events are not pushed.
pub(super) const MAX_QUEUED_UNITS: usize = (64 << 20) / UNIT_BYTES;
/// The memory of events of which only retries are left, at providers with one service.
pub(super) const MAX_PROVIDER_RETRY_UNITS: usize = MAX_QUEUED_UNITS;
/// The same at push services that users name.
pub(super) const MAX_ORIGIN_RETRY_UNITS: usize = MAX_QUEUED_UNITS / 4;
