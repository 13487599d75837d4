//! [`Database`], a thread that owns the SQLite connection and runs one job after another on it.

use std::{path::Path, thread};

use dialogue::store::StoreError;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A handle to the database's thread: SQLite's calls block. A database over a network would have a connection pool
/// instead.
pub(crate) struct Database {
    jobs: mpsc::Sender<Job>,
}

/// The capacity of the queue of jobs. When it is full, callers wait; a server has few callers at once.
const MAX_QUEUED_JOBS: usize = 64;
/// The version of the tables in `schema.sql`. A later version of this program migrates older tables.
const SCHEMA_VERSION: i64 = 1;

impl Database {
    /// Opens the file, and creates it if it doesn't exist.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error| StoreError::new(format!("can't open {}", path.display())).with_source(error);
        let mut connection = Connection::open(path).map_err(failed)?;
        prepare(&connection).map_err(failed)?;
        if version(&connection).map_err(failed)? != SCHEMA_VERSION {
            let path = path.display();
            return Err(StoreError::new(format!(
                "can't open {path}: it is no store, or one of a newer version of this program"
            )));
        }
        let (jobs, mut queue) = mpsc::channel::<Job>(MAX_QUEUED_JOBS);
        // The thread ends when the last sender is dropped and the queued jobs are done.
        let work = move || {
            while let Some(job) = queue.blocking_recv() {
                job(&mut connection);
            }
        };
        let thread = thread::Builder::new().name("sqlite".into());
        thread.spawn(work).map_err(|error| StoreError::new("can't start a thread").with_source(error))?;
        Ok(Database { jobs })
    }

    /// Runs a job on the database's thread, and returns its result. Jobs run in the order of the calls. If the future
    /// is dropped, the queued job runs all the same, before the jobs of later calls.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        attempt: &'static str,
        job: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let thread_ended = || StoreError::new(format!("can't {attempt}: the database's thread has ended"));
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // The caller may have dropped its future.
            let _ = sender.send(job(connection));
        });
        self.jobs.send(job).await.map_err(|_| thread_ended())?;
        receiver.await.map_err(|_| thread_ended())?
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    // With `FULL`, a commit syncs the write-ahead log. With `NORMAL`, it only writes it to the operating system: a
    // crash of the process would lose nothing, but a crash of the machine could.
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 4000;")?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        connection.execute_batch(concat!("BEGIN;", include_str!("schema.sql"), "COMMIT;"))?;
    }
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}
