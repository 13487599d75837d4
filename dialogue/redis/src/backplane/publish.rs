//! A publication as a call of the script `publish.lua`, and the interpretation of its reply.

use dialogue_core::{
    backplane::{Draft, DraftOutcome, Publication, Published},
    store::StoreError,
    wire::Id,
};
use redis::{Value, cmd};

use super::{message, scripts::SCRIPTS};
use crate::{
    client::Redis,
    command::{KeyedCommand, reply::text},
    store::{
        EpochNumber, MAX_KEYS, decode_key, epoch_text, event, key_fields, malformed_event, unexpected_reply,
    },
};

impl Redis {
    /// Returns the command for a publication: a plain `SPUBLISH` if none of its events is logged.
    pub(super) fn publish_command(&self, node: Id, publication: &Publication) -> KeyedCommand {
        let Publication { room_id, epoch, after, after_id, drafts, exact, .. } = publication;
        let channel = self.keys().room(room_id, "feed");
        if is_unlogged(publication) {
            let mut publish = cmd("SPUBLISH");
            publish.arg(&channel).arg(&*message::events(node, epoch, *after, drafts));
            return KeyedCommand::new(channel, publish);
        }
        let log = self.keys().room(room_id, "log");
        let (keys, order) = (self.keys().room(room_id, "keys"), self.keys().room(room_id, "order"));
        // Names only keys that are needed: while a slot migrates, a Cluster refuses a call of which some don't exist.
        let mut call = match drafts.iter().any(|draft| draft.event.key.is_some()) {
            true => SCRIPTS.publish.call(&[&log, &keys, &order]),
            false => SCRIPTS.publish.call(&[&log]),
        };
        let (EpochNumber(epoch_number), explicit_epoch) = EpochNumber::from_text(epoch);
        call.arg(epoch_number).arg(explicit_epoch).arg(*after).arg(after_id.as_ref().map_or("", Id::as_str));
        call.arg(if *exact { "1" } else { "" }).arg(channel).arg(node.as_str()).arg(MAX_KEYS);
        for Draft { event, size, .. } in drafts {
            call.arg(&*event.encode()).arg(*size).arg(&key_fields(event));
        }
        KeyedCommand::new(log, call)
    }
}

/// Returns the outcome of a publication from the reply to its command.
pub(super) fn outcome(publication: Publication, reply: Value) -> Result<Published, StoreError> {
    if is_unlogged(&publication) {
        return Ok(unlogged(publication));
    }
    match reply {
        Value::Int(0) => {
            let message = "in Redis has another epoch or has lost events";
            Err(StoreError::conflict(format!(
                "can't publish: the log of `{}` {message}",
                publication.room_id
            )))
        }
        reply => logged(publication, reply),
    }
}

/// Returns whether the publication changes neither the log nor its keys.
fn is_unlogged(publication: &Publication) -> bool {
    publication.drafts.iter().all(|draft| draft.event.seq == 0 && draft.event.key.is_none())
}

fn unlogged(publication: Publication) -> Published {
    let outcomes = publication.drafts.into_iter().map(|draft| DraftOutcome::Published(draft.event)).collect();
    Published::new(publication.epoch, publication.after, outcomes)
}

/// Returns the outcome from the script's reply. The script may have renumbered the events, which is repeated here.
fn logged(publication: Publication, reply: Value) -> Result<Published, StoreError> {
    let unexpected = || unexpected_reply("a publication", &Value::Nil);
    let Value::Array(parts) = reply else { return Err(unexpected_reply("a publication", &reply)) };
    let mut parts = parts.into_iter();
    let mut part = || parts.next().unwrap_or_default();
    let (epoch_number, explicit_epoch) = (part(), part());
    let mut numbers = [part(), part(), part()].into_iter().map(|part| text(&part)?.parse::<u64>().ok());
    let mut next_number = || numbers.next().flatten().ok_or_else(unexpected);
    let (before, mut time, mut end) = (next_number()?, next_number()?, next_number()?);
    let epoch = match text(&explicit_epoch).ok_or_else(unexpected)? {
        "" => epoch_text(
            text(&epoch_number).and_then(|epoch_number| epoch_number.parse().ok()).ok_or_else(unexpected)?,
        ),
        explicit_epoch => explicit_epoch.into(),
    };
    let Value::Array(missed) = part() else { return Err(unexpected()) };
    let missed = missed.into_iter().map(event).collect::<Result<_, _>>().map_err(malformed_event)?;
    let mut published = Published::new(epoch, before, Vec::new());
    published.missed = missed;
    let Value::Array(results) = part() else {
        return Ok(published);
    };
    let (mut seq, mut outcomes) = (before, Vec::with_capacity(results.len()));
    for (Draft { mut event, size, .. }, duplicate) in publication.drafts.into_iter().zip(&results) {
        match text(duplicate) {
            Some("") => {
                if event.seq > 0 {
                    seq += 1;
                    time = time.max(event.timestamp);
                    if !publication.exact {
                        (event.seq, event.timestamp, event.offset) = (seq, time, end);
                    }
                    end += u64::from(size);
                }
                outcomes.push(DraftOutcome::Published(event));
            }
            _ => {
                let [field, ..] = key_fields(&event);
                let field = Value::BulkString(field.into_bytes());
                outcomes.push(DraftOutcome::Duplicate(decode_key(&field, duplicate).ok_or_else(unexpected)?));
            }
        }
    }
    published.outcomes = outcomes;
    Ok(published)
}
