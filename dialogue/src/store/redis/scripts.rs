//! What happens in Redis all at once.

use std::sync::LazyLock;

use redis::Cmd;

use crate::redis::Script;

pub(super) struct Scripts {
    pub(super) append: Script,
    pub(super) read: Script,
    pub(super) trim: Script,
    pub(super) keys: Script,
    pub(super) put: Script,
    pub(super) scan: Script,
}

pub(super) static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts {
    append: Script::new(include_str!("append.lua")),
    read: Script::new(include_str!("read.lua")),
    trim: Script::new(include_str!("trim.lua")),
    keys: Script::new(include_str!("keys.lua")),
    put: Script::new(include_str!("put.lua")),
    scan: Script::new(include_str!("scan.lua")),
});

/// A call of a script on these keys; its other arguments follow.
pub(super) fn call(script: &Script, keys: &[&str]) -> Cmd {
    let mut call = script.call();
    call.arg(keys.len());
    for key in keys {
        call.arg(*key);
    }
    call
}
