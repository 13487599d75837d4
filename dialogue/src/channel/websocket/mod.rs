//! Rooms over a WebSocket.

#[cfg_attr(not(test), expect(dead_code, unused_imports, reason = "used by the connection"))]
mod frame;
#[cfg_attr(not(test), expect(dead_code, reason = "used by the connection"))]
mod handshake;
