//! The one writer of a database: a thread that takes what waits together, and syncs it together.
//!
//! Works that wait at the same time share a transaction, each in a savepoint of its own: one that is refused or
//! panics leaves nothing behind and takes no other with it. State is written ahead to the journal (`safe`) before
//! the commit, and nobody is answered before both are on the disk.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::reserve::Reserve;
use super::safe::{Keeper, Written};
use super::{DbError, Inner};
use std::sync::Arc;

/// Works that share one transaction, at most.
const TOGETHER: usize = 32;

/// What the thread is asked for.
pub(super) enum Message {
    /// To change something.
    Work(Box<dyn Work>),
    /// To begin a new file of the journal.
    Turn,
    /// To end, and to say so when the files are let go of.
    Close(oneshot::Sender<()>),
}

/// A change that waits for its turn.
pub(super) trait Work: Send {
    /// Does it within `tx`; says whether it is to be kept.
    fn run(&mut self, tx: &Transaction<'_>) -> bool;
    /// It is not kept, because of this.
    fn refuse(&mut self, why: DbError);
    /// Tells whoever asked what came of it, and of the commit.
    fn answer(self: Box<Self>, committed: Result<(), DbError>);
}

/// A change with a caller who waits for its answer.
pub(super) struct Job<F, T, E> {
    pub(super) work: Option<F>,
    pub(super) result: Option<Result<T, E>>,
    pub(super) answer: oneshot::Sender<Result<T, E>>,
    pub(super) inner: Arc<Inner>,
}

impl<F, T, E> Work for Job<F, T, E>
where
    F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<DbError> + Send,
{
    fn run(&mut self, tx: &Transaction<'_>) -> bool {
        let Some(work) = self.work.take() else {
            return false;
        };
        // What panics is rolled back, its caller's answer is dropped, and the next finds the connection as it was.
        let Ok(result) = catch_unwind(AssertUnwindSafe(|| work(tx))) else {
            tracing::error!("a write panicked; nothing of it is kept, and the next goes on");
            return false;
        };
        let good = result.is_ok();
        self.result = Some(result);
        good
    }

    fn refuse(&mut self, why: DbError) {
        self.result = Some(Err(why.into()));
    }

    fn answer(self: Box<Self>, committed: Result<(), DbError>) {
        let result = match (self.result, committed) {
            (Some(Ok(value)), Ok(())) => {
                self.inner.commits.send_modify(|n| *n += 1);
                Ok(value)
            }
            (Some(Ok(_)), Err(error)) => Err(error.into()),
            (Some(Err(error)), _) => Err(error),
            (None, _) => return,
        };
        if self.answer.send(result).is_err() {
            tracing::debug!("the caller of a write went away before its answer");
        }
    }
}

pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    /// Only state has one.
    pub(super) keeper: Option<Keeper>,
    pub(super) reserves: Vec<Reserve>,
}

impl Writer {
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        let mut works = VecDeque::new();
        let mut closing = None;
        while closing.is_none()
            && let Some(first) = queue.blocking_recv()
        {
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Work(work) => works.push_back(work),
                    Message::Turn => {
                        if let Some(keeper) = &mut self.keeper {
                            keeper.turn();
                        }
                    }
                    Message::Close(ended) => {
                        closing = Some(ended);
                        break;
                    }
                }
                next = match works.len() < TOGETHER {
                    true => queue.try_recv().ok(),
                    false => None,
                };
            }
            while !works.is_empty() {
                let goes_on = self.together(&mut works);
                if !goes_on {
                    return;
                }
            }
            for reserve in &self.reserves {
                reserve.tend();
            }
        }
        drop((self, queue));
        if let Some(ended) = closing
            && ended.send(()).is_err()
        {
            tracing::debug!("whoever ended a database did not wait for it");
        }
    }

    /// One transaction of all that wait, or of those up to one with which SQLite gave the whole up. Says whether
    /// there is power to go on, which only tests take away.
    fn together(&mut self, works: &mut VecDeque<Box<dyn Work>>) -> bool {
        let mut done = Vec::with_capacity(works.len());
        let committed = self.transaction(works, &mut done);
        // What was captured of a transaction that came to nothing is nothing.
        if let Some(keeper) = &self.keeper {
            drop(keeper.capture().take());
        }
        #[cfg(test)]
        if self
            .keeper
            .as_mut()
            .is_some_and(|k| k.after_answers(None).is_err())
        {
            return false;
        }
        for work in done {
            work.answer(match &committed {
                Ok(_) => Ok(()),
                Err(error) => Err(error.told_again()),
            });
        }
        #[cfg(test)]
        if let (Some(keeper), Ok(written)) = (&mut self.keeper, &committed) {
            return keeper.after_answers(written.as_ref()).is_ok();
        }
        true
    }

    fn transaction(
        &mut self,
        works: &mut VecDeque<Box<dyn Work>>,
        done: &mut Vec<Box<dyn Work>>,
    ) -> Result<Option<Written>, DbError> {
        let behavior = TransactionBehavior::Immediate;
        let tx = match self.connection.transaction_with_behavior(behavior) {
            Ok(tx) => tx,
            Err(error) => {
                done.extend(works.drain(..));
                return Err(error.into());
            }
        };
        let alone = works.len() == 1;
        let (mut rows, mut good) = (0, false);
        while let Some(mut work) = works.pop_front() {
            let mark = self.keeper.as_ref().map(|keeper| keeper.capture().mark());
            let before = tx.total_changes();
            if !alone && let Err(error) = tx.execute_batch("SAVEPOINT work") {
                works.push_front(work);
                done.extend(works.drain(..));
                return Err(error.into());
            }
            let mut kept = work.run(&tx);
            let changed = tx.total_changes() - before;
            if let (Some(keeper), Some(mark)) = (&self.keeper, mark)
                && kept
                && changed > 0
                && keeper.capture().is_silent_since(mark)
            {
                // It would be acknowledged, and gone with the file.
                kept = false;
                work.refuse(DbError::Unavailable(
                    "the change is not in the journal of changes, so it was not made".into(),
                ));
            }
            done.push(work);
            if kept && !tx.is_autocommit() {
                rows += changed;
                good = true;
            } else {
                if let (Some(keeper), Some(mark)) = (&self.keeper, mark) {
                    keeper.capture().back_to(mark);
                }
                // A large change can meet the full disk before its commit.
                Reserve::beside(&self.path).release_if_full();
            }
            if tx.is_autocommit() {
                // SQLite gave up all of it: on a full disk, or one that fails.
                return Err(lost(&self.path));
            }
            if !alone {
                let end = match kept {
                    true => "RELEASE work",
                    false => "ROLLBACK TO work; RELEASE work",
                };
                tx.execute_batch(end)?;
            }
        }
        if !good {
            return Ok(None);
        }
        let mut written = None;
        if let Some(keeper) = &mut self.keeper {
            match keeper.ahead(&tx, rows) {
                Ok(ahead) => written = ahead,
                Err(error) => {
                    drop(tx);
                    if error.is_disk_full() {
                        Reserve::beside(&self.path).release();
                    }
                    return Err(error);
                }
            }
        }
        let committed = match &mut self.keeper {
            Some(keeper) => keeper.commit(tx, written.as_ref()),
            None => tx.commit().map_err(DbError::from),
        };
        if committed.as_ref().is_err_and(DbError::is_disk_full) {
            Reserve::beside(&self.path).release();
        }
        committed.map(|()| written)
    }
}

/// Why works are lost with another's.
fn lost(path: &std::path::Path) -> DbError {
    match Reserve::beside(path).is_full() {
        true => DbError::DiskFull,
        false => DbError::Unavailable(
            "SQLite gave up the transaction that this change was part of: try again".into(),
        ),
    }
}
