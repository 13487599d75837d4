//! The application's own code, which may panic: that fails what it was asked for, and nothing else.

use std::{any::Any, panic::AssertUnwindSafe};

use futures_util::FutureExt;

/// What `asked` yields; `None`, and a line in the program's log, if it panics. `asked` makes the application's future too,
/// since that may panic as well.
pub(crate) async fn caught<T>(what: &str, asked: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(asked).catch_unwind().await.inspect_err(|panic| log(what, &**panic)).ok()
}

/// The same of what isn't waited for.
pub(crate) fn caught_now<T>(what: &str, ask: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(AssertUnwindSafe(ask)).inspect_err(|panic| log(what, &**panic)).ok()
}

fn log(what: &str, panic: &(dyn Any + Send)) {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
    tracing::error!(asked = what, panic = text, "the application panicked");
}
