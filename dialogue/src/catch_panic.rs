//! Calls of the application's code, which may panic: a panic fails the call, and nothing else.

use std::{any::Any, panic::AssertUnwindSafe};

use futures_util::FutureExt;

/// Returns the output of `call`; `None` if it panics, which is logged with the name `what`. `call` must also create the
/// application's future, since that may panic as well.
pub(crate) async fn catch_panic<T>(what: &str, call: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(call).catch_unwind().await.inspect_err(|panic| log(what, &**panic)).ok()
}

/// Does the same for a synchronous call.
pub(crate) fn catch_panic_sync<T>(what: &str, call: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(AssertUnwindSafe(call)).inspect_err(|panic| log(what, &**panic)).ok()
}

fn log(what: &str, panic: &(dyn Any + Send)) {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
    tracing::error!(call = what, panic = text, "the application panicked");
}
