//! End-to-end tests over real sockets, servers and browsers.
