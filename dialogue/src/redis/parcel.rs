//! Commands on their way to one server.

use redis::{Cmd, Pipeline, Value};

use super::{Command, Failure, Script, answer, link::Link};

/// Commands for one server.
pub(super) struct Parcel {
    keys: Vec<String>,
    pipeline: Pipeline,
}

impl Parcel {
    pub(super) fn of(commands: Vec<Command>) -> Self {
        let mut parcel = Parcel {
            keys: Vec::with_capacity(commands.len()),
            pipeline: Pipeline::with_capacity(commands.len()),
        };
        for Command { key, cmd } in commands {
            parcel.keys.push(key);
            parcel.pipeline.add_command(cmd);
        }
        parcel
    }

    pub(super) fn commands(&self) -> impl Iterator<Item = (&str, &Cmd)> {
        self.keys.iter().map(String::as_str).zip(self.pipeline.cmd_iter())
    }

    pub(super) async fn send(&self, link: &Link, writes: bool) -> Vec<Result<Value, Failure>> {
        match link.send(&self.pipeline).await {
            Err(failure) => self.keys.iter().map(|_| Err(failure.clone())).collect(),
            Ok(values) => {
                let answers: Vec<_> = values.into_iter().map(|value| answer(Some(value))).collect();
                if writes {
                    judge(link, self.keys.iter().map(String::as_str).zip(&answers));
                }
                answers
            }
        }
    }
}

/// The calls of a script that a server did not know, with the script in them, and their places.
pub(super) fn in_full<'a>(
    script: Option<&Script>,
    answers: &[Result<Value, Failure>],
    sent: impl Iterator<Item = (&'a str, &'a Cmd)>,
) -> Option<(Vec<usize>, Vec<Command>)> {
    let script = script?;
    let unknown = |answer: &Result<Value, Failure>| {
        answer.as_ref().is_err_and(|failure| failure.code() == Some("NOSCRIPT"))
    };
    if !answers.iter().any(unknown) {
        return None;
    }
    let lost = answers.iter().zip(sent).enumerate().filter(|(_, (answer, _))| unknown(answer));
    let again = lost.filter_map(|(place, (_, (key, cmd)))| {
        Some((place, Command { key: key.to_owned(), cmd: script.in_full(cmd)? }))
    });
    Some(again.unzip())
}

/// Puts answers into their places.
pub(super) fn put(
    answers: &mut [Result<Value, Failure>],
    places: Vec<usize>,
    others: Vec<Result<Value, Failure>>,
) {
    for (place, other) in places.into_iter().zip(others) {
        if let Some(answer) = answers.get_mut(place) {
            *answer = other;
        }
    }
}

/// Draws from what writes to some keys came to what condition the server is in.
pub(super) fn judge<'a>(link: &Link, answers: impl Iterator<Item = (&'a str, &'a Result<Value, Failure>)>) {
    let mut accepted = false;
    for (key, answer) in answers {
        match answer {
            Ok(_) => accepted = true,
            Err(failure) if failure.code() == Some("READONLY") => {
                return link.renew("it has become a replica");
            }
            Err(failure) if failure.is_condition() => return link.refused(failure, key),
            Err(_) => {}
        }
    }
    if accepted {
        link.condition().accepts();
    }
}
