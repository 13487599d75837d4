//! Scripts: what has to happen all at once or not at all.

use redis::{Arg, Cmd, cmd};
use sha1::{Digest, Sha1};

/// A Lua script that servers know by its hash, once they have seen it.
#[derive(Debug)]
pub(crate) struct Script {
    text: &'static str,
    sha: String,
}

impl Script {
    pub(crate) fn new(text: &'static str) -> Self {
        let sha = Sha1::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        Script { text, sha }
    }

    /// A call of it on these keys; its other arguments follow.
    pub(crate) fn call(&self, keys: &[impl AsRef<str>]) -> Cmd {
        self.large_call(keys, 0, 0)
    }

    /// The same, with space for so many other arguments, of so many bytes in all.
    pub(crate) fn large_call(&self, keys: &[impl AsRef<str>], arguments: usize, bytes: usize) -> Cmd {
        let of_keys: usize = keys.iter().map(|key| key.as_ref().len()).sum();
        let mut call = Cmd::with_capacity(3 + keys.len() + arguments, 64 + of_keys + bytes);
        call.arg("EVALSHA").arg(&self.sha).arg(keys.len());
        for key in keys {
            call.arg(key.as_ref());
        }
        call
    }

    /// The same call with the text in it, for a server that has lost it.
    pub(super) fn in_full(&self, call: &Cmd) -> Option<Cmd> {
        let mut arguments = call.args_iter().map(|argument| match argument {
            Arg::Simple(bytes) => bytes,
            _ => &[],
        });
        if arguments.next() != Some(b"EVALSHA") || arguments.next() != Some(self.sha.as_bytes()) {
            return None;
        }
        let mut full = cmd("EVAL");
        full.arg(self.text);
        arguments.for_each(|argument| {
            full.arg(argument);
        });
        Some(full)
    }
}
