//! How events reach people.

mod websocket;
