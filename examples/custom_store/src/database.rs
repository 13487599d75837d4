//! A thread that owns the connection, and does what it is asked for in turn.

use std::{path::Path, thread};

use dialogue::store::StoreError;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A database, on a thread of its own: SQLite blocks. For a database over a network, a pool of connections stands here.
pub(crate) struct Database {
    jobs: mpsc::Sender<Job>,
}

/// Jobs that may wait. The callers of more wait themselves, and a server has few callers.
const WAITING: usize = 64;
/// What the tables of `schema.sql` are called. A later version migrates older ones, and knows no newer one.
const VERSION: i64 = 1;

impl Database {
    /// Opens the file, and makes it if there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error| StoreError::new(format!("can't open {}", path.display())).source(error);
        let mut connection = Connection::open(path).map_err(failed)?;
        prepare(&connection).map_err(failed)?;
        if version(&connection).map_err(failed)? != VERSION {
            let path = path.display();
            return Err(StoreError::new(format!(
                "{path} is no store, or one of a newer version of this program"
            )));
        }
        let (jobs, mut waiting) = mpsc::channel::<Job>(WAITING);
        // It ends when the last sender is gone, and the jobs before are done.
        let work = move || {
            while let Some(job) = waiting.blocking_recv() {
                job(&mut connection);
            }
        };
        let thread = thread::Builder::new().name("sqlite".into());
        thread.spawn(work).map_err(|error| StoreError::new("can't start a thread").source(error))?;
        Ok(Database { jobs })
    }

    /// Has `job` done, and waits for it. Dropped meanwhile, the job is done all the same; jobs are done in the order in
    /// which they were asked for, so that whoever asks next sees what became of it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        attempt: &'static str,
        job: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let gone = || StoreError::new(format!("can't {attempt}: the database's thread has ended"));
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Nobody may be waiting any longer.
            let _ = answer.send(job(connection));
        });
        self.jobs.send(job).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    // A commit returns when the log of writes is synced. `NORMAL` would return when the system has it: a crash of the
    // process loses nothing then, one of the machine may.
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
