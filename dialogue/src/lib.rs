//! Typed realtime rooms.
