//! The runtime of the push module: a tokio runtime of its own with one worker thread.

use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};

use super::PushError;

/// A tokio runtime with one worker thread, `dialogue-push`, and the tasks on it. Dropping it aborts the tasks.
///
/// A push to a room of 100,000 devices is 100,000 encryptions, requests and responses. On a thread of their own, they
/// delay each other only: the operating system divides the processor between threads, whereas a shared runtime would
/// poll a connection's task only after the push tasks that were ready before it.
pub(super) struct PushRuntime {
    tasks: JoinSet<()>,
    runtime: Option<Runtime>,
}

impl PushRuntime {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The system can't start a thread.
    pub(super) fn new() -> Result<Self, PushError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("dialogue-push")
            .enable_all()
            .build()
            .map_err(|error| PushError::new(format!("can't start a thread for pushes: {error}")))?;
        Ok(PushRuntime { tasks: JoinSet::new(), runtime: Some(runtime) })
    }

    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            self.tasks.spawn_on(task, runtime.handle());
        }
    }
}

impl Drop for PushRuntime {
    fn drop(&mut self) {
        self.tasks.abort_all();
        if let Some(runtime) = self.runtime.take() {
            // A server may be dropped in an asynchronous context, where waiting for the thread would panic.
            runtime.shutdown_background();
        }
    }
}
