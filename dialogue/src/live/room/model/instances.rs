//! The model's registry: instances that are superseded, evicted or deleted, and the ones in their place.

use super::*;

impl World {
    /// Migrates the members into a new instance.
    pub(super) fn supersede(&mut self) {
        let Migration { members, shown } = self.core.supersede();
        self.carry_out();
        self.flush();
        let superseded = self.reopen();
        let mut coming = Vec::new();
        for member in members {
            assert!(member.handle.retarget_migration(&*superseded, &self.instance));
            coming.push(member);
        }
        let handles = coming.iter().map(|member| Arc::clone(&member.handle)).collect();
        assert!(self.core.expect_migrating(handles, shown.as_deref()));
        self.carry_out();
        for MigratingMember { handle, slot, filter, since } in coming {
            let options = JoinOptions { filter: Some(filter), since: Some(since), slot, id: None };
            let request = JoinRequest { handle: Arc::clone(&handle), options, is_migrating: true };
            assert!(matches!(self.try_join(&request), JoinStep::Joined { is_new: true }));
            if self.mode == Mode::Cluster {
                // The superseded instance counted it, too.
                *self.roster.entry(Arc::clone(&handle.user_id)).or_default() -= 1;
            }
        }
        self.core.prune_migrating();
        self.carry_out();
    }

    /// Replaces the instance by one that is read from the store; returns the one before.
    pub(super) fn reopen(&mut self) -> Arc<Instance> {
        self.timers.clear();
        self.fetches.clear();
        let tail = self.random.usize(1..20);
        let log = now(self.store.head(ROOM)).expect("it works").map(|head| {
            let mut newest = Query::new(Order::NewestFirst, tail);
            newest.max_bytes = usize::MAX;
            let tail = now(self.store.read(ROOM, newest)).expect("it works").events;
            let keys = now(self.store.keys(ROOM, 0)).expect("it works");
            let epoch = self.epoch_override.clone().unwrap_or_else(|| Arc::clone(&head.epoch));
            let (first, last) = (head.first, head.last);
            StoredLog { epoch, store_epoch: head.epoch, first, last, tail, keys, counted: Vec::new() }
        });
        let members = self.other_members.iter().map(|(user, connections)| {
            Member::new(self.other_node, Arc::clone(user), u32::try_from(*connections).expect("few"))
        });
        let found = StoredRoom { log, members: members.collect(), ..StoredRoom::default() };
        let instance = Arc::new(Instance {
            id: ROOM.into(),
            instance_id: InstanceId::fresh(),
            requests: Mutex::default(),
        });
        self.core = RoomCore::new(
            instance.instance_id,
            Arc::clone(&self.spec),
            ROOM.into(),
            storage(self.mode, self.this_node, self.other_node),
            Arc::clone(&self.epoch),
            found,
            self.time,
        );
        self.local_size = 0;
        std::mem::replace(&mut self.instance, instance)
    }

    pub(super) fn evict(&mut self) {
        self.run(|_| {});
        if !self.core.is_idle() {
            return;
        }
        if self.core.loses_log() {
            (self.epoch, self.head) = (self.fresh_epoch(), None);
            self.losses += 1;
        }
        self.reopen();
    }

    pub(super) fn empty(&mut self) {
        for client in 0..self.clients.len() {
            self.disconnect(client);
        }
        // The grace periods of presence end, and what they announce is sent.
        (0..2).for_each(|_| self.pass(Duration::from_secs(1)));
        self.evict();
    }

    pub(super) fn delete(&mut self) {
        if self.random.u32(..4) != 0 {
            return;
        }
        self.run(|world| {
            if world.mode != Mode::Memory {
                if !world.is_up {
                    return;
                }
                world.renew_epoch();
                now(world.store.remove(ROOM)).expect("it works");
                world.epoch_override = None;
            } else {
                world.epoch = world.fresh_epoch();
            }
            // Pushed before the deletion is known to the other nodes.
            world.feed.clear();
            world.losses += 1;
            world.head = None;
            for handle in world.core.close_deleted(DELETED_REASON) {
                handle.exit(&*world.instance, DELETED_REASON);
            }
            world.carry_out();
            world.flush();
            world.reopen();
        });
    }

    pub(super) fn trim(&mut self) {
        if !std::mem::take(&mut self.trim_due) || self.mode == Mode::Memory || !self.is_up {
            return;
        }
        let plan = self.run(|world| world.core.trim_plan());
        let trim = crate::store::Trim::new(plan.epoch, plan.first, 0);
        now(self.store.trim(ROOM, trim)).expect("it works");
        self.run(|world| world.core.trimmed(plan.first));
    }
}
