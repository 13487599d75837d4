//! A server that ends as if its process were killed.

use dialogue::Push;
use tokio::runtime::{Builder, Runtime};

use crate::{
    Result,
    acme::{Configured, Running},
};

/// It runs on threads of its own, which stop in the middle of whatever they do.
pub(crate) struct Doomed {
    runtime: Option<Runtime>,
    pub(crate) running: Running,
}

impl Doomed {
    pub(crate) async fn start<F>(push: Push, configure: impl FnOnce() -> F + Send + 'static) -> Result<Self>
    where
        F: Future<Output = Result<Configured>> + Send,
    {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let start = async move {
            let configure = configure().await?;
            Running::with(push, configure).await
        };
        let running = runtime.spawn(start).await??;
        Ok(Doomed { runtime: Some(runtime), running })
    }

    /// Nobody is told, nothing is settled.
    pub(crate) fn kill(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        self.stop();
    }
}
