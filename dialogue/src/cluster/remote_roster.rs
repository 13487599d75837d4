//! The remote roster: a room's members at other nodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::backplane::{Member, MemberChange};
use crate::wire::Id;

/// The users of a room by the node to which they are connected.
///
/// Members of nodes that aren't in the list of nodes are kept aside, and count once their node is listed or publishes a
/// change.
#[derive(Debug, Default)]
pub(crate) struct RemoteRoster {
    nodes: BTreeMap<Id, NodeUsers>,
    unlisted: BTreeMap<Id, NodeUsers>,
    /// Nodes with members here that the last list of nodes didn't have: the list may be a moment old, so they are
    /// dropped only if the next one doesn't have them either.
    suspected: BTreeSet<Id>,
}

/// A change to the roster of a room.
#[derive(Debug)]
pub(crate) enum RosterChange {
    /// The changes that a node published, which is thereby known to be alive.
    Members { node: Id, changes: Vec<MemberChange> },
    /// A new list of nodes, and the previous one.
    Nodes { before: Arc<BTreeSet<Id>>, listed: Arc<BTreeSet<Id>> },
    /// The members of all nodes, and the list of nodes.
    Replaced { members: Vec<Member>, listed: BTreeSet<Id> },
}

/// The number of connections of each user at a node.
type NodeUsers = BTreeMap<Arc<str>, usize>;

/// The change in the number of a user's connections at other nodes.
pub(crate) type ConnectionDelta = (Arc<str>, isize);

impl RemoteRoster {
    /// Applies a change; returns the differences.
    pub(crate) fn apply(&mut self, change: RosterChange) -> Vec<ConnectionDelta> {
        match change {
            RosterChange::Members { node, changes } => self.change(node, &changes),
            RosterChange::Nodes { before, listed } => self.set_nodes(&before, &listed),
            RosterChange::Replaced { members, listed } => self.replace(members, &listed),
        }
    }

    /// Applies changes that a node published; the node is thereby known to be alive. Returns the differences.
    fn change(&mut self, node: Id, changes: &[MemberChange]) -> Vec<ConnectionDelta> {
        let mut deltas = self.admit(node);
        let users = self.nodes.entry(node).or_default();
        for MemberChange { user_id, connections, .. } in changes {
            let now = usize::try_from(*connections).unwrap_or(usize::MAX);
            let before = match now {
                0 => users.remove(user_id),
                now => users.insert(Arc::clone(user_id), now),
            };
            deltas.push((Arc::clone(user_id), delta(before.unwrap_or(0), now)));
        }
        deltas
    }

    /// Replaces the roster by a snapshot of all nodes' members. Returns the differences.
    pub(crate) fn replace(&mut self, members: Vec<Member>, listed: &BTreeSet<Id>) -> Vec<ConnectionDelta> {
        let before = std::mem::take(self);
        self.suspected = before.suspected;
        for Member { node, user_id, connections, .. } in members {
            let nodes = if listed.contains(&node) || before.nodes.contains_key(&node) {
                &mut self.nodes
            } else {
                &mut self.unlisted
            };
            let connections = usize::try_from(connections).unwrap_or(usize::MAX);
            nodes.entry(node).or_default().insert(user_id, connections);
        }
        let mut totals = BTreeMap::<Arc<str>, isize>::new();
        for (user, connections) in self.nodes.values().flatten() {
            *totals.entry(Arc::clone(user)).or_default() += delta(0, *connections);
        }
        for (user, connections) in before.nodes.values().flatten() {
            *totals.entry(Arc::clone(user)).or_default() += delta(*connections, 0);
        }
        totals.into_iter().filter(|(_, delta)| *delta != 0).collect()
    }

    /// Returns whether a list of nodes changes the roster.
    pub(crate) fn is_roster_affected(&self, listed: &BTreeSet<Id>) -> bool {
        !self.unlisted.is_empty()
            || !self.suspected.is_empty()
            || self.nodes.keys().any(|node| !listed.contains(node))
    }

    /// Applies a list of nodes, where `before` is the previous one: members of nodes that are in neither list are
    /// removed, and those of newly listed nodes count. Returns the differences.
    fn set_nodes(&mut self, before: &BTreeSet<Id>, listed: &BTreeSet<Id>) -> Vec<ConnectionDelta> {
        let missing = self.nodes.keys().chain(self.unlisted.keys()).filter(|node| !listed.contains(node));
        let missing: BTreeSet<_> = missing.copied().collect();
        let mut deltas = Vec::new();
        for node in missing.iter().filter(|node| before.contains(node) || self.suspected.contains(node)) {
            self.unlisted.remove(node);
            let users = self.nodes.remove(node).into_iter().flatten();
            deltas.extend(users.map(|(user, connections)| (user, delta(connections, 0))));
        }
        for node in listed {
            deltas.extend(self.admit(*node));
        }
        self.suspected = missing;
        deltas
    }

    /// Returns the nodes to which a user is connected.
    pub(crate) fn nodes_of(&self, user: &str) -> BTreeSet<Id> {
        self.nodes.iter().filter(|(_, users)| users.contains_key(user)).map(|(node, _)| *node).collect()
    }

    /// Counts the members of a node that were kept aside.
    fn admit(&mut self, node: Id) -> Vec<ConnectionDelta> {
        let Some(users) = self.unlisted.remove(&node) else { return Vec::new() };
        let deltas = users.iter().map(|(user, now)| (Arc::clone(user), delta(0, *now)));
        let deltas = deltas.collect();
        self.nodes.insert(node, users);
        deltas
    }
}

fn delta(before: usize, now: usize) -> isize {
    let signed = |count| isize::try_from(count).unwrap_or(isize::MAX);
    signed(now) - signed(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: Id, user: &str) -> Member {
        Member::new(node, user.into(), 1)
    }

    fn sorted(mut deltas: Vec<ConnectionDelta>) -> Vec<(String, isize)> {
        deltas.sort();
        deltas.into_iter().map(|(user, delta)| (user.to_string(), delta)).collect()
    }

    #[test]
    fn a_node_that_leaves_takes_only_its_own_users() {
        let (one, other) = (Id::fresh(), Id::fresh());
        let mut roster = RemoteRoster::default();
        roster.change(one, &[MemberChange::new("ada".into(), 2), MemberChange::new("ben".into(), 1)]);
        roster.change(other, &[MemberChange::new("ada".into(), 1)]);
        let (before, listed) = (BTreeSet::from([one, other]), BTreeSet::from([other]));
        assert!(roster.is_roster_affected(&listed));
        assert_eq!(sorted(roster.set_nodes(&before, &listed)), [("ada".into(), -2), ("ben".into(), -1)]);
        assert_eq!((roster.nodes_of("ada"), roster.nodes_of("ben")), (listed, BTreeSet::new()));
    }

    #[test]
    fn members_of_an_unlisted_node_count_once_it_is_seen() {
        let (gone, new) = (Id::fresh(), Id::fresh());
        let mut roster = RemoteRoster::default();
        let members = vec![member(gone, "ada"), member(new, "ben")];
        assert!(roster.replace(members, &BTreeSet::new()).is_empty());
        assert_eq!(sorted(roster.change(new, &[])), [("ben".into(), 1)]);
        let listed = BTreeSet::from([new]);
        assert!(roster.set_nodes(&listed, &listed).is_empty());
        assert!(roster.nodes_of("ada").is_empty());
    }

    #[test]
    fn a_node_that_is_listed_late_keeps_its_members() {
        let new = Id::fresh();
        let mut roster = RemoteRoster::default();
        roster.change(new, &[MemberChange::new("ada".into(), 1)]);
        // This list is older than the node.
        assert!(roster.set_nodes(&BTreeSet::new(), &BTreeSet::new()).is_empty());
        let listed = BTreeSet::from([new]);
        assert!(roster.set_nodes(&BTreeSet::new(), &listed).is_empty());
        assert_eq!(roster.nodes_of("ada"), listed);
        // A node that never is listed is removed.
        let never = Id::fresh();
        roster.change(never, &[MemberChange::new("ben".into(), 1)]);
        assert!(roster.set_nodes(&listed, &listed).is_empty());
        assert_eq!(sorted(roster.set_nodes(&listed, &listed)), [("ben".into(), -1)]);
    }

    #[test]
    fn a_snapshot_returns_the_differences() {
        let (one, other) = (Id::fresh(), Id::fresh());
        let listed = BTreeSet::from([one, other]);
        let mut roster = RemoteRoster::default();
        roster.replace(vec![member(one, "ada"), member(one, "ben")], &listed);
        let deltas = roster.replace(vec![member(other, "ada"), member(other, "cem")], &listed);
        assert_eq!(sorted(deltas), [("ben".into(), -1), ("cem".into(), 1)]);
    }
}
