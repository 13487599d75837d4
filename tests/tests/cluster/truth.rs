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
    /// Events that were acknowledged, and that nobody saw who was not told of a loss.
    pub(crate) gone: usize,
}

impl Outcome {
    /// Every acknowledged event was seen once, in one order, by everyone who was not told of a loss; and the others saw
    /// the same log without a hole between what they were told was lost.
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
        let mut log = BTreeMap::new();
        for witness in there {
            self.losses += witness.stretches.len() - 1;
            self.seen += witness.stretches.iter().map(Vec::len).sum::<usize>();
            witness.stretches.iter().try_for_each(|stretch| follows(stretch))?;
            // What a server took with it, somebody may have seen who is told then. In the end, all are in one log.
            if let Some(last) = witness.stretches.last() {
                one_log(&mut log, last)?;
            }
        }
        let acknowledged: BTreeSet<_> =
            there.iter().flat_map(|witness| witness.acknowledged.keys()).collect();
        self.acknowledged += acknowledged.len();
        for witness in there.iter().filter(|witness| witness.stretches.len() == 1) {
            has_all(&witness.stretches[0], &acknowledged)
                .map_err(|error| report(there, &error.to_string()))?;
        }
        let seen = there.iter().flat_map(|witness| witness.stretches.iter().flatten());
        let known: BTreeSet<_> = seen.map(|seen| &seen.text).collect();
        self.gone += acknowledged.iter().filter(|text| !known.contains(**text)).count();
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

/// At one place of a log, all saw the same.
fn one_log(log: &mut BTreeMap<(String, u64), Seen>, stretch: &[Seen]) -> Result {
    for seen in stretch {
        let place = (seen.position.epoch.clone(), seen.position.seq);
        let before = log.entry(place).or_insert_with(|| seen.clone());
        if before != seen {
            return Err(format!("one saw {before:?}, another {seen:?}").into());
        }
    }
    Ok(())
}

/// Who lost nothing saw the log from its beginning, with all that was acknowledged, and nothing twice.
fn has_all(stretch: &[Seen], acknowledged: &BTreeSet<&String>) -> Result {
    let texts: BTreeSet<_> = stretch.iter().map(|seen| &seen.text).collect();
    if texts.len() != stretch.len() {
        return Err("an event came twice".into());
    }
    if stretch.first().is_some_and(|first| first.position.seq != 1) {
        return Err(format!("the first seen is {:?}", stretch[0]).into());
    }
    match acknowledged.iter().find(|text| !texts.contains(**text)) {
        Some(text) => Err(format!("{text:?} was acknowledged, and somebody did not see it").into()),
        None => Ok(()),
    }
}

/// What helps to find out why.
fn report(there: &[&Witness], error: &str) -> String {
    let mut text = format!("{error}\n");
    let quoted = error.split('"').nth(1).unwrap_or_default();
    for witness in there {
        if let Some(accepted) = witness.acknowledged.get(quoted) {
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
        let at = witness.stretches.iter().flatten().find(|seen| seen.text == quoted);
        text += &format!("one of room {} saw it at {at:?}, in {stretches:?}\n", witness.room);
    }
    text
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { acknowledged, seen, losses, gone } = self;
        write!(f, "{acknowledged} acknowledged, {seen} seen, {losses} losses told, {gone} gone with a server")
    }
}
