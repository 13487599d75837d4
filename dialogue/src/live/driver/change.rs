//! The execution of [`RoomChange`]s.

use super::RoomDriver;
use crate::live::command::{RoomChange, Unreadable};

impl RoomDriver {
    /// Runs a change, carries out its effects, and replies.
    pub(super) fn change(&mut self, change: RoomChange) {
        let Some(core) = &mut self.core else { return };
        match change {
            RoomChange::Barrier(reply) => self.answer(reply, ()),
            RoomChange::Wake => {}
            RoomChange::Join { request, evidence, place, reply } => {
                let step = core.join(&request, evidence, &self.instance.info());
                // The connection is counted before its place is given back.
                self.carry_out();
                // Given back at once if the connection is counted or refused.
                let place = place.filter(|_| step.needs_evidence());
                self.answer(reply, (step, place));
            }
            RoomChange::Unlisten(connection) => _ = core.leave(connection),
            RoomChange::Remove { handle, reason, reply } => {
                let was_in = match reason {
                    Some(reason) => core.remove(&handle, &reason),
                    None => core.release_connection(&handle),
                };
                self.answer(reply, was_in);
            }
            RoomChange::Release(handle) => _ = core.release_connection(&handle),
            RoomChange::RefuseEventsFrom(connection) => core.refuse_events_from(connection),
            RoomChange::Listen(listener, filter) => core.listen(listener, filter),
            RoomChange::Subscribe(connection, change, reply) => {
                let is_member = core.subscribe(connection, change);
                self.answer(reply, is_member);
            }
            RoomChange::DeliverTargeted { publish, targeted, user, reply } => {
                let delivered = (core.deliver_targeted(*publish, &targeted), core.nodes_of_user(&user));
                self.answer(reply, delivered);
            }
            RoomChange::ReplayPage(connection) => core.replay_page(connection),
            RoomChange::PageFetched { connection, after, page: Ok(page) } => {
                core.replay_archived(connection, after, page.as_deref());
            }
            RoomChange::PageFetched { connection, after, page: Err(Unreadable) } => {
                core.replay_failed(connection, after);
            }
            RoomChange::Timer(timer) => core.timer_fired(timer),
            RoomChange::Roster(change) => core.change_roster(change),
            RoomChange::ExpectMigrating { handles, shown, reply } => {
                let may_enter = core.expect_migrating(handles, shown.as_deref());
                self.answer(reply, may_enter);
            }
            RoomChange::CancelMigration(user) => core.cancel_migration(&user),
            RoomChange::PruneMigrating => core.prune_migrating(),
            RoomChange::PlanTrim(reply) => {
                let plan = core.trim_plan();
                self.answer(reply, plan);
            }
            RoomChange::Trimmed(first) => core.trimmed(first),
        }
        self.carry_out();
        self.flush_replies();
    }
}
