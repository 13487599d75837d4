//! Why a command came to nothing.

use std::{fmt, sync::Arc};

use redis::{ServerError, Value};

/// Why a command has no answer, or one that is none.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// It was not sent: there is no connection.
    Unreachable(Arc<str>),
    /// It was sent, and no answer came: nobody knows whether it was executed.
    Lost(Arc<str>),
    /// The server refused it, and did nothing.
    Refused { code: String, text: String },
}

impl Failure {
    /// An answer that isn't what the command is answered with.
    pub(crate) fn strange(command: &str, answer: &Value) -> Self {
        Failure::Refused { code: "ERR".to_owned(), text: format!("{command} was answered with {answer:?}") }
    }

    pub(super) fn refused(error: &ServerError) -> Self {
        let code = error.code().to_owned();
        // A script's own lines are of no use to who reads this.
        let detail = error.details().unwrap_or_default();
        let detail = detail.split(" script: ").next().unwrap_or_default();
        Failure::Refused { text: format!("{code} {detail}").trim_end().to_owned(), code }
    }

    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Failure::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether the server is in no state to take writes, whatever they are.
    pub(super) fn is_condition(&self) -> bool {
        const CONDITIONS: [&str; 7] =
            ["OOM", "MISCONF", "NOREPLICAS", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "BUSY"];
        self.code().is_some_and(|code| CONDITIONS.contains(&code))
    }

    /// What to do about it.
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

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unreachable(why) | Failure::Lost(why) => f.write_str(why),
            Failure::Refused { text, .. } => write!(f, "{text}{}", self.advice()),
        }
    }
}

impl std::error::Error for Failure {}
