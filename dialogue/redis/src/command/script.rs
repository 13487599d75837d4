//! Lua scripts, which Redis executes atomically. They are called by their SHA-1 (`EVALSHA`); a server that doesn't have
//! a script cached gets its source with the call (`EVAL`).

use redis::{Arg, Cmd, cmd};
use sha1::{Digest, Sha1};

/// A Lua script with its SHA-1.
#[derive(Debug)]
pub(crate) struct Script {
    source: &'static str,
    sha: String,
}

impl Script {
    pub(crate) fn new(source: &'static str) -> Self {
        let sha = Sha1::digest(source).iter().map(|byte| format!("{byte:02x}")).collect();
        Script { source, sha }
    }

    /// Returns a call of the script on these keys; the caller adds the other arguments.
    pub(crate) fn call(&self, keys: &[impl AsRef<str>]) -> Cmd {
        self.call_with_capacity(keys, 0, 0)
    }

    /// Returns a call with capacity for `arguments` other arguments of `bytes` bytes in total.
    pub(crate) fn call_with_capacity(&self, keys: &[impl AsRef<str>], arguments: usize, bytes: usize) -> Cmd {
        let of_keys: usize = keys.iter().map(|key| key.as_ref().len()).sum();
        let mut call = Cmd::with_capacity(3 + keys.len() + arguments, 64 + of_keys + bytes);
        call.arg("EVALSHA").arg(&self.sha).arg(keys.len());
        for key in keys {
            call.arg(key.as_ref());
        }
        call
    }

    /// Turns a call by hash into a call by source; returns `None` for another command.
    pub(crate) fn to_eval(&self, call: &Cmd) -> Option<Cmd> {
        let mut arguments = call.args_iter().map(|argument| match argument {
            Arg::Simple(bytes) => bytes,
            _ => &[],
        });
        if arguments.next() != Some(b"EVALSHA") || arguments.next() != Some(self.sha.as_bytes()) {
            return None;
        }
        let mut full = cmd("EVAL");
        full.arg(self.source);
        arguments.for_each(|argument| {
            full.arg(argument);
        });
        Some(full)
    }
}
