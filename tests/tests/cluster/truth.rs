//! What must hold of what everybody saw.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::crowd::{PEOPLE, ROOMS, Seen, Witness};
use dialogue_tests::Result;

/// What a run came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) acknowledged: usize,
    /// Events that somebody saw, once for each who did.
    pub(crate) seen: usize,
    /// How often somebody was told of a loss.
    pub(crate) losses: usize,
    /// Events that were acknowledged, and that somebody did not see who was told of no loss: a server took them with it
    /// before they were there to be seen.
    pub(crate) gone: usize,
    /// Of the first of them.
    pub(crate) report: String,
}

impl Outcome {
    /// All saw one log, without a hole between what they were told was lost, and nothing twice; counts what of it they
    /// should have seen and did not.
    pub(crate) fn of(witnesses: &[Witness]) -> Result<Self> {
        assert_eq!(witnesses.len(), PEOPLE);
        let mut outcome = Outcome::default();
        for room in 0..ROOMS {
            let there: Vec<_> = witnesses.iter().filter(|witness| witness.room == room).collect();
            outcome.count(&there)?;
        }
        Ok(outcome)
    }

    fn count(&mut self, there: &[&Witness]) -> Result {
        let (mut log, mut gone) = (BTreeMap::new(), BTreeSet::<&String>::new());
        let acknowledged: BTreeSet<_> =
            there.iter().flat_map(|witness| witness.acknowledged.keys()).collect();
        for witness in there {
            self.losses += witness.stretches.len() - 1;
            self.seen += witness.stretches.iter().map(Vec::len).sum::<usize>();
            witness.stretches.iter().try_for_each(|stretch| follows(stretch))?;
            // What a server took with it, somebody may have seen who is told then. In the end, all are in one log.
            let last = witness.stretches.last().ok_or("no stretch")?;
            one_log(&mut log, last)?;
            let texts = once(last)?;
            if witness.stretches.len() == 1 {
                from_its_beginning(last)?;
                gone.extend(acknowledged.difference(&texts).copied());
            }
        }
        self.acknowledged += acknowledged.len();
        self.gone += gone.len();
        if let (Some(first), true) = (gone.first(), self.report.is_empty()) {
            self.report = report(there, first);
        }
        Ok(())
    }
}

/// Each number is one more than the one before.
fn follows(stretch: &[Seen]) -> Result {
    for pair in stretch.windows(2) {
        let (one, next) = (&pair[0].position, &pair[1].position);
        if one.epoch != next.epoch || one.seq + 1 != next.seq {
            return Err(format!("{next:?} follows {one:?}, and nobody was told").into());
        }
    }
    Ok(())
}

/// At one place of the log, all saw the same. Who was told of no loss may know it by an older epoch.
fn one_log(log: &mut BTreeMap<u64, Seen>, stretch: &[Seen]) -> Result {
    for seen in stretch {
        let before = log.entry(seen.position.seq).or_insert_with(|| seen.clone());
        if (&before.position.event_id, &before.text) != (&seen.position.event_id, &seen.text) {
            return Err(format!("one saw {before:?}, another {seen:?}").into());
        }
    }
    Ok(())
}

/// Nothing came twice; yields what came.
fn once(stretch: &[Seen]) -> Result<BTreeSet<&String>> {
    let texts: BTreeSet<_> = stretch.iter().map(|seen| &seen.text).collect();
    if texts.len() == stretch.len() { Ok(texts) } else { Err("an event came twice".into()) }
}

/// Who lost nothing saw the log from its beginning.
fn from_its_beginning(stretch: &[Seen]) -> Result {
    match stretch.first() {
        Some(first) if first.position.seq != 1 => Err(format!("the first seen is {first:?}").into()),
        _ => Ok(()),
    }
}

/// What helps to find out why.
fn report(there: &[&Witness], gone: &str) -> String {
    let mut text = format!("{gone:?} was acknowledged, and somebody did not see it\n");
    for witness in there {
        if let Some(accepted) = witness.acknowledged.get(gone) {
            text += &format!("it was {accepted:?}\n");
            for other in
                there[0].stretches.iter().flatten().filter(|seen| Some(seen.position.seq) == accepted.seq)
            {
                text += &format!("in its place there is {other:?}\n");
            }
        }
        let ends =
            |stretch: &Vec<Seen>| Some((stretch.first()?.position.clone(), stretch.last()?.position.clone()));
        let stretches: Vec<_> = witness.stretches.iter().filter_map(ends).collect();
        let at = witness.stretches.iter().flatten().find(|seen| seen.text == gone);
        text += &format!("one of room {} saw it at {at:?}, in {stretches:?}\n", witness.room);
    }
    text
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { acknowledged, seen, losses, gone, .. } = self;
        write!(f, "{acknowledged} acknowledged, {seen} seen, {losses} losses told, {gone} gone with a server")
    }
}
