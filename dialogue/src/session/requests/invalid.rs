//! The refusal of a request that is not valid.

use std::borrow::Cow;

use crate::{Code, Refusal};

/// Returns a refusal with [`Code::InvalidRequest`].
pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::InvalidRequest, message)
}
