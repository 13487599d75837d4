//! What happens in Redis all at once.

use std::sync::LazyLock;

use crate::redis::Script;

pub(super) struct Scripts {
    pub(super) share: Script,
    pub(super) members: Script,
    pub(super) beat: Script,
    pub(super) bury: Script,
    pub(super) swap: Script,
}

pub(super) static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts {
    share: Script::new(include_str!("share.lua")),
    members: Script::new(include_str!("members.lua")),
    beat: Script::new(include_str!("beat.lua")),
    bury: Script::new(include_str!("bury.lua")),
    swap: Script::new(include_str!("swap.lua")),
});
