//! Commands to one server, sent in one pipeline, and what their replies say about the server and its scripts.

use redis::{Cmd, Pipeline, Value};

use super::reconnecting::ReconnectingConnection;
use crate::command::{CommandError, KeyedCommand, Script, reply::into_result};

/// Commands for one server, with the key of each.
pub(crate) struct CommandPipeline {
    keys: Vec<String>,
    pipeline: Pipeline,
}

impl CommandPipeline {
    pub(crate) fn new(commands: Vec<KeyedCommand>) -> Self {
        let mut command_pipeline = CommandPipeline {
            keys: Vec::with_capacity(commands.len()),
            pipeline: Pipeline::with_capacity(commands.len()),
        };
        for KeyedCommand { key, cmd } in commands {
            command_pipeline.keys.push(key);
            command_pipeline.pipeline.add_command(cmd);
        }
        command_pipeline
    }

    pub(crate) fn commands(&self) -> impl Iterator<Item = (&str, &Cmd)> {
        self.keys.iter().map(String::as_str).zip(self.pipeline.cmd_iter())
    }

    pub(crate) async fn send(
        &self,
        connection: &ReconnectingConnection,
        writes: bool,
    ) -> Vec<Result<Value, CommandError>> {
        match connection.send(&self.pipeline).await {
            Err(failure) => self.keys.iter().map(|_| Err(failure.clone())).collect(),
            Ok(values) => {
                let replies: Vec<_> = values.into_iter().map(|value| into_result(Some(value))).collect();
                if writes {
                    update_health(connection, self.keys.iter().map(String::as_str).zip(&replies));
                }
                replies
            }
        }
    }
}

/// Returns the calls that failed because the server doesn't have the script cached (`NOSCRIPT`), as calls by source,
/// with their indices; `None` if there are none.
pub(crate) fn script_retries<'a>(
    script: Option<&Script>,
    replies: &[Result<Value, CommandError>],
    sent: impl Iterator<Item = (&'a str, &'a Cmd)>,
) -> Option<(Vec<usize>, Vec<KeyedCommand>)> {
    let script = script?;
    let unknown = |reply: &Result<Value, CommandError>| {
        reply.as_ref().is_err_and(|failure| failure.code() == Some("NOSCRIPT"))
    };
    if !replies.iter().any(unknown) {
        return None;
    }
    let unknown_calls = replies.iter().zip(sent).enumerate().filter(|(_, (reply, _))| unknown(reply));
    let retries = unknown_calls.filter_map(|(index, (_, (key, cmd)))| {
        Some((index, KeyedCommand { key: key.to_owned(), cmd: script.to_eval(cmd)? }))
    });
    Some(retries.unzip())
}

/// Replaces the replies at these indices.
pub(crate) fn replace_replies(
    replies: &mut [Result<Value, CommandError>],
    indices: Vec<usize>,
    new_replies: Vec<Result<Value, CommandError>>,
) {
    for (index, new_reply) in indices.into_iter().zip(new_replies) {
        if let Some(reply) = replies.get_mut(index) {
            *reply = new_reply;
        }
    }
}

/// Updates the health of a server from the replies to writes, each with its key. A `READONLY` reply closes the
/// connection, since the server has become a replica.
pub(crate) fn update_health<'a>(
    connection: &ReconnectingConnection,
    replies: impl Iterator<Item = (&'a str, &'a Result<Value, CommandError>)>,
) {
    let mut accepted = false;
    for (key, reply) in replies {
        match reply {
            Ok(_) => accepted = true,
            Err(failure) if failure.code() == Some("READONLY") => {
                return connection.reset("it has become a replica");
            }
            Err(failure) if failure.blocks_all_writes() => return connection.mark_refusing(failure, key),
            Err(_) => {}
        }
    }
    if accepted {
        connection.health().mark_accepting();
    }
}
