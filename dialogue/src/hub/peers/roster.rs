//! Who is in a room elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    backplane::{Member, MemberChange},
    wire::Id,
};

/// The users of a room by the peer that they are connected to.
///
/// Peers that aren't known to be there are remembered, and count for nothing until they are.
#[derive(Debug, Default)]
pub(in crate::hub) struct Roster {
    peers: BTreeMap<Id, Users>,
    unknown: BTreeMap<Id, Users>,
    /// Those of either who weren't there when it was last told who is: what is told may be a moment old.
    doubtful: BTreeSet<Id>,
}

/// How many connections each has there.
type Users = BTreeMap<Arc<str>, usize>;

/// How many connections a user has elsewhere now: by how many they are more, or fewer.
pub(in crate::hub) type Difference = (Arc<str>, isize);

impl Roster {
    /// Other users of a peer, which is there since it says so.
    pub(in crate::hub) fn change(&mut self, peer: Id, changes: &[MemberChange]) -> Vec<Difference> {
        let mut differences = self.admit(peer);
        let users = self.peers.entry(peer).or_default();
        for MemberChange { user_id, connections } in changes {
            let now = usize::try_from(*connections).unwrap_or(usize::MAX);
            let before = match now {
                0 => users.remove(user_id),
                now => users.insert(Arc::clone(user_id), now),
            };
            differences.push((Arc::clone(user_id), difference(before.unwrap_or(0), now)));
        }
        differences
    }

    /// All who are in, by the word of everybody.
    pub(in crate::hub) fn replace(&mut self, members: Vec<Member>, there: &BTreeSet<Id>) -> Vec<Difference> {
        let before = std::mem::take(self);
        self.doubtful = before.doubtful;
        for Member { node: peer, user_id, connections } in members {
            let peers = if there.contains(&peer) || before.peers.contains_key(&peer) {
                &mut self.peers
            } else {
                &mut self.unknown
            };
            let connections = usize::try_from(connections).unwrap_or(usize::MAX);
            peers.entry(peer).or_default().insert(user_id, connections);
        }
        let mut totals = BTreeMap::<Arc<str>, isize>::new();
        for (user, connections) in self.peers.values().flatten() {
            *totals.entry(Arc::clone(user)).or_default() += difference(0, *connections);
        }
        for (user, connections) in before.peers.values().flatten() {
            *totals.entry(Arc::clone(user)).or_default() += difference(*connections, 0);
        }
        totals.into_iter().filter(|(_, difference)| *difference != 0).collect()
    }

    /// Whether it makes a difference that those are there, and nobody else.
    pub(in crate::hub) fn is_affected(&self, there: &BTreeSet<Id>) -> bool {
        !self.unknown.is_empty()
            || !self.doubtful.is_empty()
            || self.peers.keys().any(|peer| !there.contains(peer))
    }

    /// Those are there, and nobody else; `before`, those were.
    pub(in crate::hub) fn peers_are(
        &mut self,
        before: &BTreeSet<Id>,
        there: &BTreeSet<Id>,
    ) -> Vec<Difference> {
        let missing = self.peers.keys().chain(self.unknown.keys()).filter(|peer| !there.contains(peer));
        let missing: BTreeSet<_> = missing.copied().collect();
        let mut differences = Vec::new();
        for peer in missing.iter().filter(|peer| before.contains(peer) || self.doubtful.contains(peer)) {
            self.unknown.remove(peer);
            let users = self.peers.remove(peer).into_iter().flatten();
            differences.extend(users.map(|(user, connections)| (user, difference(connections, 0))));
        }
        for peer in there {
            differences.extend(self.admit(*peer));
        }
        self.doubtful = missing;
        differences
    }

    /// The peers that a user is connected to.
    pub(in crate::hub) fn peers_of(&self, user: &str) -> BTreeSet<Id> {
        self.peers.iter().filter(|(_, users)| users.contains_key(user)).map(|(peer, _)| *peer).collect()
    }

    /// A peer is there after all.
    fn admit(&mut self, peer: Id) -> Vec<Difference> {
        let Some(users) = self.unknown.remove(&peer) else { return Vec::new() };
        let differences = users.iter().map(|(user, now)| (Arc::clone(user), difference(0, *now)));
        let differences = differences.collect();
        self.peers.insert(peer, users);
        differences
    }
}

fn difference(before: usize, now: usize) -> isize {
    let signed = |count| isize::try_from(count).unwrap_or(isize::MAX);
    signed(now) - signed(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(peer: Id, user: &str) -> Member {
        Member { node: peer, user_id: user.into(), connections: 1 }
    }

    fn sorted(mut differences: Vec<Difference>) -> Vec<(String, isize)> {
        differences.sort();
        differences.into_iter().map(|(user, difference)| (user.to_string(), difference)).collect()
    }

    #[test]
    fn a_peer_that_goes_takes_its_users_and_nobody_elses() {
        let (one, other) = (Id::fresh(), Id::fresh());
        let mut roster = Roster::default();
        roster.change(one, &[MemberChange::new("ada".into(), 2), MemberChange::new("ben".into(), 1)]);
        roster.change(other, &[MemberChange::new("ada".into(), 1)]);
        let (before, there) = (BTreeSet::from([one, other]), BTreeSet::from([other]));
        assert!(roster.is_affected(&there));
        assert_eq!(sorted(roster.peers_are(&before, &there)), [("ada".into(), -2), ("ben".into(), -1)]);
        assert_eq!((roster.peers_of("ada"), roster.peers_of("ben")), (there, BTreeSet::new()));
    }

    #[test]
    fn who_is_not_known_to_be_there_counts_once_they_are() {
        let (gone, new) = (Id::fresh(), Id::fresh());
        let mut roster = Roster::default();
        let members = vec![member(gone, "ada"), member(new, "ben")];
        assert!(roster.replace(members, &BTreeSet::new()).is_empty());
        assert_eq!(sorted(roster.change(new, &[])), [("ben".into(), 1)]);
        let there = BTreeSet::from([new]);
        assert!(roster.peers_are(&there, &there).is_empty());
        assert!(roster.peers_of("ada").is_empty());
    }

    #[test]
    fn who_is_told_of_late_stays() {
        let new = Id::fresh();
        let mut roster = Roster::default();
        roster.change(new, &[MemberChange::new("ada".into(), 1)]);
        // That was said before it came.
        assert!(roster.peers_are(&BTreeSet::new(), &BTreeSet::new()).is_empty());
        let there = BTreeSet::from([new]);
        assert!(roster.peers_are(&BTreeSet::new(), &there).is_empty());
        assert_eq!(roster.peers_of("ada"), there);
        // And who really never comes goes.
        let never = Id::fresh();
        roster.change(never, &[MemberChange::new("ben".into(), 1)]);
        assert!(roster.peers_are(&there, &there).is_empty());
        assert_eq!(sorted(roster.peers_are(&there, &there)), [("ben".into(), -1)]);
    }

    #[test]
    fn a_new_list_makes_the_differences_that_there_are() {
        let (one, other) = (Id::fresh(), Id::fresh());
        let there = BTreeSet::from([one, other]);
        let mut roster = Roster::default();
        roster.replace(vec![member(one, "ada"), member(one, "ben")], &there);
        let differences = roster.replace(vec![member(other, "ada"), member(other, "cem")], &there);
        assert_eq!(sorted(differences), [("ben".into(), -1), ("cem".into(), 1)]);
    }
}
