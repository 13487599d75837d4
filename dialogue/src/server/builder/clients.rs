//! Bounds on what one user or address may hold, and on rooms.

use super::ServerBuilder;
use crate::server::application::Application;

impl<A: Application, I: Send + Sync + 'static, S, L> ServerBuilder<A, I, S, L> {
    /// Sets the maximum of a user's connections: 64 by default. A further one is refused with `TOO_MANY`.
    pub fn max_connections_per_user(mut self, connections: usize) -> Self {
        self.settings.bounds.clients.max_connections_per_user = connections;
        self
    }

    /// Sets the maximum of sockets and event streams of one address (of IPv6, its first 64 bits): 1,024 by default.
    /// Under [`Server::serve`](crate::Server::serve) an address may hold 64 more TCP connections, for anything; a
    /// further one is closed when it is accepted. The loopback address has no bound. Behind a proxy, set [`behind_proxies`](Self::behind_proxies).
    pub fn max_connections_per_address(mut self, connections: usize) -> Self {
        self.settings.bounds.clients.max_connections_per_address = connections;
        self
    }

    /// Sets the number of proxies in front of the server, each of which appends the address of its client to
    /// `X-Forwarded-For`: 0 by default. With too small a number all clients share the address of a proxy, and its
    /// bounds; with too large a one, clients can forge theirs.
    pub fn behind_proxies(mut self, proxies: usize) -> Self {
        self.settings.bounds.clients.proxies = proxies;
        self
    }

    /// Sets the maximum of rooms that exist because one user created them: 100 by default. Beyond it, `createRoom` is
    /// refused with `TOO_MANY`.
    pub fn max_created_rooms_per_user(mut self, rooms: usize) -> Self {
        self.settings.bounds.clients.max_created_rooms_per_user = rooms;
        self
    }

    /// Sets the maximum of instances of keyed rooms that a user makes within an hour by joins, events and `createRoom`,
    /// including older ones that are still in use: 1,000 by default; with 0, clients make none. Beyond it, the request
    /// is refused with `TOO_MANY`. Not counted are instances that the [`store`](Self::store) has, that server code or a
    /// server key makes, or that are left without an event.
    pub fn max_new_rooms_per_user(mut self, rooms: usize) -> Self {
        self.settings.rooms.new_rooms.user = rooms;
        self
    }

    /// Sets the same maximum for an address (of IPv6, its first 64 bits): 10,000 by default. The loopback address has
    /// no bound. Behind a proxy, set [`behind_proxies`](Self::behind_proxies).
    pub fn max_new_rooms_per_address(mut self, rooms: usize) -> Self {
        self.settings.rooms.new_rooms.address = rooms;
        self
    }

    /// Sets the maximum of instances of keyed rooms, those in the [`store`](Self::store) included: 100,000 by default.
    ///
    /// Beyond it, instances without members that nobody created on purpose are deleted with their logs, the one that
    /// has been empty longest first. A client that returns to one gets `lost`; clients that watch the list get
    /// `roomDeleted`. A client that made more than a sixteenth of all instances lately displaces only its own. If there
    /// is none to delete, the request is refused with `TOO_MANY`.
    ///
    /// Rooms in the store can always be opened, and server code and server keys can always make rooms, so that up to
    /// twice this number may be in memory. After a fruitless search the node searches again after a second at the
    /// earliest; an instance that is emptied at this node in the meantime is found at once. With a store, an instance
    /// without members leaves memory after a minute, and is loaded again when it is needed.
    pub fn max_instances(mut self, instances: usize) -> Self {
        self.settings.rooms.max_instances = instances;
        self
    }
}
