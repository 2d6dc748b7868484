//! One database: a thread that writes and a few that read.
//!
//! Writes that wait at the same time share one transaction, so that a thousand
//! callers pay for one flush to disk. Every write still has its own result: one
//! that fails leaves the others alone, and nobody is answered before the
//! transaction is committed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::connection::Options;

/// Requests that may wait for a thread; callers beyond wait themselves.
const WRITE_QUEUE: usize = 1024;
const READ_QUEUE: usize = 1024;
/// Writes that share one transaction at most.
const MAX_GROUP: usize = 512;
/// Two keep a slow listing from blocking short reads.
const READERS: usize = 2;
/// Tries for the write lock of another process come at random within this.
const LOCK_RETRY: std::ops::Range<u64> = 100..1500;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Error(String);

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    pub(crate) fn closed() -> Self {
        Self::new("component is closed")
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<dapr_components::PropertyError> for Error {
    fn from(error: dapr_components::PropertyError) -> Self {
        Self(error.to_string())
    }
}

impl From<Error> for dapr_components::InitError {
    fn from(error: Error) -> Self {
        Self::new(error.0)
    }
}

/// How a write takes part in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// One statement, which has an effect as a whole or not at all.
    Single,
    /// Several statements that take effect together.
    Atomic,
    /// Like `Atomic`, and may be lost when the machine (not the process)
    /// fails: needs no flush to disk of its own.
    Relaxed,
    /// Changes nothing.
    Read,
}

impl Write {
    fn is_atomic(self) -> bool {
        matches!(self, Self::Atomic | Self::Relaxed)
    }

    fn must_reach_disk(self) -> bool {
        matches!(self, Self::Single | Self::Atomic)
    }
}

/// A write between its caller and the writing thread.
trait Job: Send {
    fn run(&mut self, connection: &Connection);

    /// Tells the caller how the transaction ended.
    fn answer(self: Box<Self>, committed: Result<(), Error>);
}

struct Item<T, E, F> {
    atomic: bool,
    work: Option<F>,
    result: Option<Result<T, E>>,
    caller: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> Job for Item<T, E, F>
where
    T: Send,
    E: From<Error> + Send,
    F: FnOnce(&Connection) -> Result<T, E> + Send,
{
    fn run(&mut self, connection: &Connection) {
        if let Some(work) = self.work.take() {
            let result = if self.atomic { atomically(connection, work) } else { work(connection) };
            self.result = Some(result);
        }
    }

    fn answer(self: Box<Self>, committed: Result<(), Error>) {
        let result = match (committed, self.result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(Error::closed().into()),
            (Err(e), _) => Err(e.into()),
        };
        // A caller that went away needs no answer.
        let _ = self.caller.send(result);
    }
}

struct Queued {
    mode: Write,
    since: Instant,
    job: Box<dyn Job>,
}

enum WriteJob {
    Run(Queued),
    Close,
}

enum ReadJob {
    Run(Box<dyn FnOnce(&Connection) + Send>),
    Close,
}

type Committed = Box<dyn Fn() + Send>;

/// Cheap to clone. The threads end when it is closed or the last clone is gone.
#[derive(Clone)]
pub(crate) struct Database {
    writes: mpsc::Sender<WriteJob>,
    /// `None` where only one connection can see the data.
    reads: Option<mpsc::Sender<ReadJob>>,
    /// One sender per thread; all gone means that the files are closed.
    ended: Arc<Mutex<Option<mpsc::Receiver<()>>>>,
    timeout: Duration,
}

impl Database {
    /// Opens the connections, runs `prepare` on the writing one and starts the
    /// threads.
    pub(crate) async fn open(
        options: Options,
        prepare: impl FnOnce(&Connection) -> Result<(), Error> + Send + 'static,
    ) -> Result<Self, Error> {
        Self::open_with(options, prepare, None).await
    }

    /// `committed` is called after every transaction that holds a write
    /// that must reach the disk, before its callers are answered.
    pub(crate) async fn open_with(
        options: Options,
        prepare: impl FnOnce(&Connection) -> Result<(), Error> + Send + 'static,
        committed: Option<Committed>,
    ) -> Result<Self, Error> {
        let timeout = options.timeout;
        let (ended_tx, ended) = mpsc::channel(1);
        let (writes, write_queue) = mpsc::channel(WRITE_QUEUE);
        let (ready_tx, ready) = oneshot::channel();
        let writer_options = options.clone();
        let ended_writer = ended_tx.clone();
        thread("sqlite-write", move || {
            let _ended = ended_writer;
            let opened = writer_options.open().and_then(|connection| {
                prepare(&connection)?;
                Ok(connection)
            });
            match opened {
                Ok(connection) => {
                    if ready_tx.send(Ok(())).is_ok() {
                        Writer::new(connection, &writer_options, committed).run(write_queue);
                    }
                }
                Err(e) => drop(ready_tx.send(Err(e))),
            }
        })?;
        ready.await.map_err(|_| Error::closed())??;
        let reads = if options.in_memory() { None } else { Some(start_readers(&options, &ended_tx)?) };
        Ok(Self { writes, reads, ended: Arc::new(Mutex::new(Some(ended))), timeout })
    }

    /// Runs `work` in a transaction and answers when that is committed. Once
    /// queued it runs even if the caller goes away.
    pub(crate) async fn write<T, E>(
        &self,
        mode: Write,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (caller, rx) = oneshot::channel();
        let item = Item { atomic: mode.is_atomic(), work: Some(work), result: None, caller };
        let job = WriteJob::Run(Queued { mode, since: Instant::now(), job: Box::new(item) });
        self.answer(async {
            self.writes.send(job).await.map_err(|_| Error::closed())?;
            rx.await.map_err(|_| Error::closed())
        })
        .await?
    }

    /// Runs `work` on a connection that sees every committed write.
    pub(crate) async fn read<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let Some(reads) = &self.reads else { return self.write(Write::Read, work).await };
        let (tx, rx) = oneshot::channel();
        let job = ReadJob::Run(Box::new(move |connection| {
            if !tx.is_closed() {
                let _ = tx.send(work(connection));
            }
        }));
        self.answer(async {
            reads.send(job).await.map_err(|_| Error::closed())?;
            rx.await.map_err(|_| Error::closed())
        })
        .await?
    }

    async fn answer<T>(&self, wait: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match tokio::time::timeout(self.timeout, wait).await {
            Ok(result) => result,
            Err(_) => Err(Error::new("context deadline exceeded")),
        }
    }

    pub(crate) async fn ping(&self) -> Result<(), Error> {
        self.read(|connection| Ok(connection.query_row("SELECT 1", [], |_| Ok(()))?)).await
    }

    /// Finishes what is queued and closes the files.
    pub(crate) async fn close(&self) {
        let _ = self.writes.send(WriteJob::Close).await;
        if let Some(reads) = &self.reads {
            // One for each thread; the queue goes with the last of them.
            for _ in 0..READERS {
                let _ = reads.send(ReadJob::Close).await;
            }
        }
        let ended = self.ended.lock().take();
        if let Some(mut ended) = ended {
            ended.recv().await;
        }
    }
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map(drop)
        .map_err(|e| Error::new(format!("failed to start thread {name}: {e}")))
}

fn start_readers(options: &Options, ended: &mpsc::Sender<()>) -> Result<mpsc::Sender<ReadJob>, Error> {
    let (reads, queue) = mpsc::channel(READ_QUEUE);
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..READERS {
        let (options, queue, ended) = (options.clone(), queue.clone(), ended.clone());
        thread("sqlite-read", move || {
            let _ended = ended;
            read_jobs(&options, &queue);
        })?;
    }
    Ok(reads)
}

/// The connection opens with the first job: many sidecars never read twice at
/// once.
fn read_jobs(options: &Options, queue: &Mutex<mpsc::Receiver<ReadJob>>) {
    let mut connection: Option<Connection> = None;
    loop {
        // Whoever holds the lock waits for all: one job wakes one thread.
        let job = queue.lock().blocking_recv();
        match job {
            None | Some(ReadJob::Close) => return,
            Some(ReadJob::Run(work)) => {
                if connection.is_none() {
                    match options.open() {
                        Ok(opened) => connection = Some(opened),
                        Err(e) => {
                            // Dropping the job answers its caller.
                            tracing::error!(target: "dapr.contrib", "Failed to open a SQLite connection: {e}");
                            continue;
                        }
                    }
                }
                if let Some(connection) = &connection {
                    work(connection);
                }
            }
        }
    }
}

/// Undoes `work` alone when it fails.
fn atomically<T, E: From<Error>>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    let step = |sql: &str| -> Result<(), Error> {
        connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    };
    step("SAVEPOINT item")?;
    let result = work(connection);
    if result.is_err() && !connection.is_autocommit() {
        step("ROLLBACK TO item")?;
    }
    if !connection.is_autocommit() {
        step("RELEASE item")?;
    }
    result
}

struct Writer {
    connection: Connection,
    busy_timeout: Duration,
    timeout: Duration,
    /// Whether commits currently wait for the disk.
    flushing: Option<bool>,
    /// Value of `PRAGMA synchronous` for groups that must reach the disk.
    synchronous: i64,
    committed: Option<Committed>,
}

impl Writer {
    fn new(connection: Connection, options: &Options, committed: Option<Committed>) -> Self {
        let synchronous = connection.query_row("PRAGMA synchronous", [], |row| row.get(0)).unwrap_or(2);
        Self {
            connection,
            busy_timeout: options.busy_timeout,
            timeout: options.timeout,
            flushing: None,
            synchronous,
            committed,
        }
    }

    fn run(mut self, mut queue: mpsc::Receiver<WriteJob>) {
        let mut group = Vec::new();
        while let Some(job) = queue.blocking_recv() {
            let mut next = Some(job);
            while let Some(job) = next {
                match job {
                    WriteJob::Close => queue.close(),
                    WriteJob::Run(queued) => group.push(queued),
                }
                next = if group.len() < MAX_GROUP { queue.try_recv().ok() } else { None };
            }
            self.commit_group(&mut group);
        }
    }

    fn commit_group(&mut self, group: &mut Vec<Queued>) {
        let now = Instant::now();
        // Their callers have given up already.
        group.retain(|queued| now.duration_since(queued.since) < self.timeout);
        if group.is_empty() {
            return;
        }
        let flush = group.iter().any(|queued| queued.mode.must_reach_disk());
        let result = self.begin(flush).and_then(|()| {
            for queued in group.iter_mut() {
                queued.job.run(&self.connection);
                // Out of disk space and the like end the whole transaction.
                if self.connection.is_autocommit() {
                    return Err(Error::new(
                        "the database ended the transaction: out of space or an I/O error",
                    ));
                }
            }
            self.commit()
        });
        match (&result, &self.committed) {
            (Err(_), _) => self.rollback(),
            (Ok(()), Some(committed)) if flush => committed(),
            _ => {}
        }
        for queued in group.drain(..) {
            queued.job.answer(result.clone());
        }
    }

    /// Takes the write lock, against other processes too.
    fn begin(&mut self, flush: bool) -> Result<(), Error> {
        if self.flushing != Some(flush) {
            let level = if flush { self.synchronous } else { self.synchronous.min(1) };
            self.connection.execute_batch(&format!("PRAGMA synchronous={level}"))?;
            self.flushing = Some(flush);
        }
        // SQLite's own wait doubles up to 100 ms, which starves a writer among
        // several busy ones.
        let limit = Instant::now() + self.busy_timeout;
        self.connection.busy_timeout(Duration::ZERO)?;
        let result = loop {
            match self.connection.prepare_cached("BEGIN IMMEDIATE").and_then(|mut s| s.execute([])) {
                Ok(_) => break Ok(()),
                Err(e) if is_locked(&e) && Instant::now() < limit => pause(),
                Err(e) => break Err(e.into()),
            }
        };
        self.connection.busy_timeout(self.busy_timeout)?;
        result
    }

    fn commit(&self) -> Result<(), Error> {
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    fn rollback(&self) {
        if !self.connection.is_autocommit()
            && let Err(e) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(target: "dapr.contrib", "Failed to roll back a SQLite transaction: {e}");
        }
    }
}

pub(crate) fn is_locked(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
    )
}

#[expect(clippy::disallowed_methods, reason = "a thread of its own, no async worker waits behind it")]
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_micros(fastrand::u64(LOCK_RETRY)));
}
