//! The engine alone, given the same rows in the same batches.

use std::path::Path;

use dialogue::store::{Durability, StoredEvent};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

use crate::{Result, events::numbered};

pub(crate) struct Bare {
    database: Database,
    rows: Keyspace,
}

impl Bare {
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let database = Database::builder(directory).manual_journal_persist(true).open()?;
        let rows = database.keyspace("rows", KeyspaceCreateOptions::default)?;
        Ok(Bare { database, rows })
    }

    /// One event for each of these rooms.
    pub(crate) fn append(
        &self,
        template: &StoredEvent,
        rooms: std::ops::Range<u64>,
        seq: u64,
        durability: Durability,
    ) -> Result {
        let mut batch = OwnedWriteBatch::with_capacity(self.database.clone(), 64);
        for room in rooms {
            let event = numbered(template, seq);
            let key = [&b"e"[..], &room.to_be_bytes(), &seq.to_be_bytes()].concat();
            batch.insert(&self.rows, key, [&[0; 4], &*event.encode()].concat());
        }
        let mode = match durability {
            Durability::Memory => None,
            Durability::Written => Some(PersistMode::Buffer),
            Durability::Synced => Some(PersistMode::SyncData),
        };
        Ok(batch.durability(mode).commit()?)
    }
}
