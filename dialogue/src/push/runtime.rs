//! The runtime of the push module: a tokio runtime of its own on a thread of its own.

use std::thread;

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::JoinSet,
};

use super::PushError;

/// A thread, `dialogue-push`, that drives a tokio runtime, and the tasks on it. Dropping it aborts the tasks and ends
/// the thread.
///
/// A push to a room of 100,000 devices is 100,000 encryptions, requests and responses. On a thread of their own, they
/// delay each other only: the operating system divides the processor between threads, whereas a shared runtime would
/// poll a connection's task only after the push tasks that were ready before it.
pub(super) struct PushRuntime {
    tasks: JoinSet<()>,
    handle: Handle,
    /// The thread drives the runtime until this is dropped. It isn't joined: a server may be dropped in an asynchronous
    /// context, which must not wait for it.
    _stop: oneshot::Sender<()>,
}

impl PushRuntime {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The system can't start a thread.
    pub(super) fn new() -> Result<Self, PushError> {
        let error = |error| PushError::new(format!("can't start a thread for pushes: {error}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(error)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let drive = move || {
            let _ = runtime.block_on(stopped);
            // Without waiting for what blocks, such as the resolution of a name.
            runtime.shutdown_background();
        };
        thread::Builder::new().name("dialogue-push".to_owned()).spawn(drive).map_err(error)?;
        Ok(PushRuntime { tasks: JoinSet::new(), handle, _stop: stop })
    }

    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.handle);
    }
}
