//! What a run is like: runs differ in what happens at all, not only in its order.

use std::time::Duration;

use fastrand::Rng;

use super::network::LinkFault;

/// What a run is like.
#[derive(Debug)]
pub(super) struct Plan {
    /// The time in which things happen.
    pub(super) troubled_time: Duration,
    /// One message between nodes in so many is lost.
    pub(super) loss: u32,
    /// Whether clients now and then send more events at once than one page holds.
    pub(super) has_bursts: bool,
    /// The things that happen, each as often as its weight.
    troubles: Vec<(Trouble, u32)>,
}

/// Something that a deployment has to bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// A node ends without a word to anybody.
    Kill,
    /// Nodes that are down start.
    Start,
    /// Another store takes over, which lacks what was written last.
    FailOver,
    /// The application deletes a room.
    Delete,
    Link(LinkFault),
    /// All links heal.
    Heal,
}

const TROUBLES: [(Trouble, u32); 10] = [
    (Trouble::Kill, 2),
    (Trouble::Start, 3),
    (Trouble::FailOver, 3),
    (Trouble::Delete, 1),
    (Trouble::Link(LinkFault::Refused), 1),
    (Trouble::Link(LinkFault::Silent), 1),
    (Trouble::Link(LinkFault::AnswersLost), 1),
    (Trouble::Link(LinkFault::Deaf), 1),
    (Trouble::Link(LinkFault::Slow), 1),
    (Trouble::Heal, 2),
];

impl Plan {
    /// Returns the plan of a seed.
    pub(super) fn of(seed: u64) -> Self {
        // Not the numbers by which the run goes on.
        let mut rng = Rng::with_seed(!seed);
        let is_needed = |trouble: Trouble| matches!(trouble, Trouble::Start | Trouble::Heal);
        let mut troubles = TROUBLES.to_vec();
        troubles.retain(|(trouble, _)| is_needed(*trouble) || rng.u32(..4) > 0);
        Plan {
            troubled_time: Duration::from_secs(rng.u64(15..45)),
            loss: [20, 20, 5, u32::MAX][rng.usize(..4)],
            has_bursts: rng.u32(..6) == 0,
            troubles,
        }
    }

    /// Returns the plan of a run that is over soon.
    pub(super) fn brief(seed: u64) -> Self {
        let plan = Plan::of(seed);
        Plan { troubled_time: plan.troubled_time / 4, has_bursts: false, ..plan }
    }

    /// Returns what happens next.
    pub(super) fn next(&self, rng: &mut Rng) -> Trouble {
        let mut at = rng.u32(..self.troubles.iter().map(|(_, weight)| weight).sum::<u32>());
        for (trouble, weight) in &self.troubles {
            match at.checked_sub(*weight) {
                Some(rest) => at = rest,
                None => return *trouble,
            }
        }
        Trouble::Heal
    }
}
