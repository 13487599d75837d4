//! [`CommandError`], the outcome of a command that got no usable reply.

use std::{fmt, sync::Arc};

use redis::Value;

/// The reason why a command got no usable reply.
#[derive(Debug, Clone)]
pub(crate) enum CommandError {
    /// The command was not sent, since there is no connection to its server.
    Unreachable(Arc<str>),
    /// The command was sent, but no reply was received. It is unknown whether it was executed.
    NoReply(Arc<str>),
    /// The server replied with an error, and didn't execute the command.
    ServerError { code: String, text: String },
}

impl CommandError {
    /// Returns the error for a reply of an unexpected form.
    pub(crate) fn unexpected_reply(command: &str, reply: &Value) -> Self {
        CommandError::ServerError {
            code: "ERR".to_owned(),
            text: format!("unexpected reply to {command}: {reply:?}"),
        }
    }

    pub(crate) fn from_server_error(error: &redis::ServerError) -> Self {
        let code = error.code().to_owned();
        // Cuts off the position in the script.
        let detail = error.details().unwrap_or_default();
        let detail = detail.split(" script: ").next().unwrap_or_default();
        CommandError::ServerError { text: format!("{code} {detail}").trim_end().to_owned(), code }
    }

    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            CommandError::ServerError { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Returns whether the server's state makes it refuse all writes, independently of this command.
    pub(crate) fn blocks_all_writes(&self) -> bool {
        const CONDITIONS: [&str; 7] =
            ["OOM", "MISCONF", "NOREPLICAS", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "BUSY"];
        self.code().is_some_and(|code| CONDITIONS.contains(&code))
    }

    /// Returns what the operator can do about a server error.
    fn advice(&self) -> &'static str {
        match self.code() {
            Some("OOM") => "; raise its `maxmemory`, or retain less",
            Some("MISCONF") => "; it can't write to its disk",
            Some("NOPERM") => "; its ACL must allow the user these commands, keys and channels",
            Some("NOREPLICAS") => "; it has fewer replicas than `min-replicas-to-write`",
            _ => "",
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::Unreachable(reason) | CommandError::NoReply(reason) => f.write_str(reason),
            CommandError::ServerError { text, .. } => write!(f, "{text}{}", self.advice()),
        }
    }
}

impl std::error::Error for CommandError {}
