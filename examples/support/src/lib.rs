//! A support desk: customers open tickets, agents answer them. The guide's chapter `support_desk` walks through it.
//!
//! Tickets are rooms with a state; who may do what is decided by roles in a JSON Web Token, by hooks and by middleware; all
//! is kept in a directory; and Dialogue's routes stand beside the application's own, below `/api`.
//!
//! It needs Rust and, for the crate `ring` below the feature `jwt`, a C compiler (Debian: `gcc`).
//!
//! ```sh
//! JWT_SECRET=$(openssl rand -hex 32) cargo run -p support
//! ```
//!
//! | variable | meaning | without it |
//! |---|---|---|
//! | `ADDR` | where to listen | `127.0.0.1:3000` |
//! | `DATA` | the directory of the store | `support-desk` in the system's directory for temporary files |
//! | `JWT_SECRET` | signs tokens: at least 32 bytes | a random one, so that tokens end with the process |
//! | `SECRET_PREFIXES` | what words begin with that are kept out of tickets, separated by commas | `sk_live_,ghp_,AKIA` |
//!
//! In another terminal:
//!
//! ```sh
//! sign_in() { curl -s localhost:3000/api/sign-in -H 'content-type: application/json' \
//!                  -d "{\"name\":\"$1\",\"role\":\"$2\"}" | cut -d'"' -f4; }
//! post() { curl -s "localhost:3000/api/$2" -H "authorization: Bearer $1" -H 'content-type: application/json' -d "$3"; echo; }
//! ada=$(sign_in ada customer); grace=$(sign_in grace agent)
//!
//! post $ada   tickets '{"title":"no sound"}'                                          # {"ticket":1}
//! curl -N 'localhost:3000/api/events?room=ticket:1' -H "authorization: Bearer $ada" & # shows what follows, live
//! post $ada   rooms/ticket:1/events/message '{"text":"my key is sk_live_123"}'        # arrives redacted
//! post $ada   rooms/ticket:1/events/closed null                                       # refused: needs the role `agent`
//! post $grace rooms/ticket:1/events/assigned '{"agent":"grace"}'
//! post $grace rooms/ticket:1/events/closed null
//! post $ada   rooms/ticket:1/events/message '{"text":"hello?"}'                       # refused: ticket-closed
//! curl -s localhost:3000/api/tickets -H "authorization: Bearer $ada"                  # the list, with each ticket's state
//! ```
//!
//! Stop the desk and start it again: the tickets are still there.

pub mod access;
pub mod app;
pub mod auth;
pub mod redact;
pub mod rooms;
pub mod ticket;
pub mod tickets;
