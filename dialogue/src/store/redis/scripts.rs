//! What happens in Redis all at once.

use std::sync::LazyLock;

use crate::redis::Script;

pub(super) struct Scripts {
    pub(super) append: Script,
    pub(super) read: Script,
    pub(super) trim: Script,
    pub(super) keys: Script,
    pub(super) known: Script,
    pub(super) put: Script,
    pub(super) scan: Script,
}

pub(super) static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts {
    append: Script::new(include_str!("append.lua")),
    read: Script::new(include_str!("read.lua")),
    trim: Script::new(include_str!("trim.lua")),
    keys: Script::new(include_str!("keys.lua")),
    known: Script::new(include_str!("known.lua")),
    put: Script::new(include_str!("put.lua")),
    scan: Script::new(include_str!("scan.lua")),
});
