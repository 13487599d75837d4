//! Where pushes are worked on: a thread of their own.

use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};

use super::PushError;

/// A room's 100,000 devices are so many encryptions, requests and answers. Here they wait for each other, and nobody who is
/// connected waits for them: the machine divides its time between threads, where a runtime would do first what came first.
pub(super) struct Quarters {
    /// They end with this.
    tasks: JoinSet<()>,
    runtime: Option<Runtime>,
}

impl Quarters {
    /// # Errors
    ///
    /// The system has no thread left.
    pub(super) fn new() -> Result<Self, PushError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("dialogue-push")
            .enable_all()
            .build()
            .map_err(|error| PushError::new(format!("can't start a thread for pushes: {error}")))?;
        Ok(Quarters { tasks: JoinSet::new(), runtime: Some(runtime) })
    }

    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            self.tasks.spawn_on(task, runtime.handle());
        }
    }
}

impl Drop for Quarters {
    fn drop(&mut self) {
        self.tasks.abort_all();
        if let Some(runtime) = self.runtime.take() {
            // Whoever drops the server may be in the middle of something asynchronous.
            runtime.shutdown_background();
        }
    }
}
