//! A share as a call of a script, and what the script says of it.

use redis::{Value, cmd};

use super::{message, scripts::SCRIPTS};
use crate::{
    backplane::{Draft, DraftOutcome, Publication, Published},
    redis::{Command, Redis, reply::text},
    store::{
        StoreError,
        redis::{Epoch, KEYS, epoch_text, event, fields, garbled, read_key, strange},
    },
    wire::Id,
};

impl Redis {
    pub(super) fn share_one(&self, node: Id, share: &Publication) -> Command {
        let Publication { room_id, epoch, after, after_id, drafts, exact } = share;
        let channel = self.keys().room(room_id, "feed");
        if is_told_only(share) {
            let mut publish = cmd("SPUBLISH");
            publish.arg(&channel).arg(&*message::events(node, epoch, *after, drafts));
            return Command::new(channel, publish);
        }
        let log = self.keys().room(room_id, "log");
        let (names, order) = (self.keys().room(room_id, "keys"), self.keys().room(room_id, "order"));
        // While a slot moves, a Cluster refuses what names keys of which some are not there.
        let mut call = match drafts.iter().any(|draft| draft.event.key.is_some()) {
            true => SCRIPTS.share.call(&[&log, &names, &order]),
            false => SCRIPTS.share.call(&[&log]),
        };
        let (Epoch(number), beside) = Epoch::of(epoch);
        call.arg(number).arg(beside).arg(*after).arg(after_id.as_ref().map_or("", Id::as_str));
        call.arg(if *exact { "1" } else { "" }).arg(channel).arg(node.as_str()).arg(KEYS);
        for Draft { event, size } in drafts {
            call.arg(&*event.encode()).arg(*size).arg(&fields(event));
        }
        Command::new(log, call)
    }
}

/// What became of a share by an answer to its call.
pub(super) fn outcome(share: Publication, answer: Value) -> Result<Published, StoreError> {
    if is_told_only(&share) {
        return Ok(told(share));
    }
    match answer {
        Value::Int(0) => {
            Err(StoreError::conflict(format!("the log of `{}` in Redis is another", share.room_id)))
        }
        answer => shared(share, answer),
    }
}

/// Whether nothing of it is kept.
fn is_told_only(share: &Publication) -> bool {
    share.drafts.iter().all(|draft| draft.event.seq == 0 && draft.event.key.is_none())
}

fn told(share: Publication) -> Published {
    let kept = share.drafts.into_iter().map(|draft| DraftOutcome::Published(draft.event)).collect();
    Published { epoch: share.epoch, missed: Vec::new(), before: share.after, outcomes: kept }
}

/// What a script says of a share, which it may have numbered anew.
fn shared(share: Publication, answer: Value) -> Result<Published, StoreError> {
    let unknown = || strange("a share", &Value::Nil);
    let Value::Array(parts) = answer else { return Err(strange("a share", &answer)) };
    let mut parts = parts.into_iter();
    let mut part = || parts.next().unwrap_or_default();
    let (number, beside) = (part(), part());
    let mut numbers = [part(), part(), part()].into_iter().map(|part| text(&part)?.parse::<u64>().ok());
    let mut number_of = || numbers.next().flatten().ok_or_else(unknown);
    let (before, mut time, mut end) = (number_of()?, number_of()?, number_of()?);
    let epoch = match text(&beside).ok_or_else(unknown)? {
        "" => epoch_text(text(&number).and_then(|number| number.parse().ok()).ok_or_else(unknown)?),
        beside => beside.into(),
    };
    let Value::Array(missed) = part() else { return Err(unknown()) };
    let missed = missed.into_iter().map(event).collect::<Result<_, _>>().map_err(garbled)?;
    let Value::Array(results) = part() else {
        return Ok(Published { epoch, missed, before, outcomes: Vec::new() });
    };
    let (mut seq, mut kept) = (before, Vec::with_capacity(results.len()));
    for (Draft { mut event, size }, seen) in share.drafts.into_iter().zip(&results) {
        match text(seen) {
            Some("") => {
                if event.seq > 0 {
                    seq += 1;
                    time = time.max(event.timestamp);
                    if !share.exact {
                        (event.seq, event.timestamp, event.offset) = (seq, time, end);
                    }
                    end += u64::from(size);
                }
                kept.push(DraftOutcome::Published(event));
            }
            _ => {
                let [field, ..] = fields(&event);
                let field = Value::BulkString(field.into_bytes());
                kept.push(DraftOutcome::Duplicate(read_key(&field, seen).ok_or_else(unknown)?));
            }
        }
    }
    Ok(Published { epoch, missed, before, outcomes: kept })
}
