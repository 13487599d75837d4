//! The scripts of the Redis store, loaded from the Lua files beside this one.

use std::sync::LazyLock;

use crate::command::Script;

pub(super) struct StoreScripts {
    pub(super) append: Script,
    pub(super) read: Script,
    pub(super) trim: Script,
    pub(super) keys: Script,
    pub(super) contains: Script,
    pub(super) put: Script,
    pub(super) scan: Script,
}

pub(super) static SCRIPTS: LazyLock<StoreScripts> = LazyLock::new(|| StoreScripts {
    append: Script::new(include_str!("append.lua")),
    read: Script::new(include_str!("read.lua")),
    trim: Script::new(include_str!("trim.lua")),
    keys: Script::new(include_str!("keys.lua")),
    contains: Script::new(include_str!("contains.lua")),
    put: Script::new(include_str!("put.lua")),
    scan: Script::new(include_str!("scan.lua")),
});
