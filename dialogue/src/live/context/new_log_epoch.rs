//! The epoch of logs created from now on.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::{live::archive::Archive, log::epoch, store::StoreError};

/// The epoch of logs created from now on, which the store has, if there is one.
///
/// An epoch names one unbroken history; empty logs may share one, since an instance that was evicted without events is
/// the same to a client that comes back. Once a log is lost, new ones get another epoch.
#[derive(Debug)]
pub(in crate::live) struct NewLogEpoch {
    archive: Option<Arc<Archive>>,
    current: RwLock<Arc<str>>,
}

impl NewLogEpoch {
    pub(super) fn new(archive: Option<Arc<Archive>>) -> Self {
        NewLogEpoch { archive, current: RwLock::new(epoch::fresh()) }
    }

    /// Returns the epoch.
    pub(in crate::live) fn current(&self) -> Arc<str> {
        Arc::clone(&self.current.read())
    }

    /// Reads the epoch from the store.
    pub(in crate::live) async fn read(&self) -> Result<(), StoreError> {
        if let Some(archive) = &self.archive {
            let epoch = archive.epoch().await?;
            *self.current.write() = epoch;
        }
        Ok(())
    }

    /// Renews the epoch, in the store first.
    pub(in crate::live) async fn renew(&self) -> Result<(), StoreError> {
        match &self.archive {
            Some(archive) => {
                let fresh = archive.new_epoch().await?;
                *self.current.write() = fresh;
            }
            None => self.renew_in_memory(),
        }
        Ok(())
    }

    /// Renews the epoch if it still is that of the `lost` log.
    pub(in crate::live) async fn renew_if(&self, lost: &str) -> Result<(), StoreError> {
        self.read().await?;
        if *self.current() == *lost { self.renew().await } else { Ok(()) }
    }

    /// Renews the epoch at this node alone: a log that was in memory only is lost.
    pub(in crate::live) fn renew_in_memory(&self) {
        *self.current.write() = epoch::fresh();
    }
}
