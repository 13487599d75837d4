//! The items of the client that an expansion of `rooms!` names. They are no public API.

use super::{Client, Connect, JoinRoom};
use crate::room::Room;

/// `AcmeClient::connect(url)`.
pub fn connect<C: From<Client>>(url: String) -> Connect<C> {
    Connect::new(url)
}

/// `client.chat()`, `client.project(key)`.
pub fn room<R: Room>(client: &Client, key: R::Key) -> JoinRoom<R> {
    JoinRoom::new(client, key)
}
