//! Replies as results, and access to their values, whose types differ between versions of the protocol and kinds of
//! command.

use redis::Value;

use super::CommandError;

/// Turns an error reply of the server into an error.
pub(crate) fn into_result(value: Option<Value>) -> Result<Value, CommandError> {
    match value {
        Some(Value::ServerError(error)) => Err(CommandError::from_server_error(&error)),
        Some(value) => Ok(value),
        None => Err(CommandError::NoReply("a reply is missing".into())),
    }
}

/// Returns a string of any of the protocol's types.
pub(crate) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        Value::Okay => Some("OK"),
        _ => None,
    }
}

/// Returns an integer, or a string of its digits as one.
pub(crate) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        other => text(other)?.parse().ok(),
    }
}

/// Returns the items of an array or a set.
pub(crate) fn list(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(items) | Value::Set(items) => Some(items),
        _ => None,
    }
}
