//! The scripts of the Redis backplane, loaded from the Lua files beside this one.

use std::sync::LazyLock;

use crate::command::Script;

pub(super) struct BackplaneScripts {
    pub(super) publish: Script,
    pub(super) update_members: Script,
    pub(super) heartbeat: Script,
    pub(super) remove_node: Script,
    pub(super) compare_and_swap: Script,
}

pub(super) static SCRIPTS: LazyLock<BackplaneScripts> = LazyLock::new(|| BackplaneScripts {
    publish: Script::new(include_str!("publish.lua")),
    update_members: Script::new(include_str!("update_members.lua")),
    heartbeat: Script::new(include_str!("heartbeat.lua")),
    remove_node: Script::new(include_str!("remove_node.lua")),
    compare_and_swap: Script::new(include_str!("compare_and_swap.lua")),
});
