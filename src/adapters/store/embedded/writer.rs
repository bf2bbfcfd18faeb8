//! The one thread that writes: many waiting writes become one durable transaction.
//!
//! A commit costs one wait for the disk however many writes are in it, so a batch is whatever came while the last commit
//! was waiting. Each write is checked inside the transaction, against what is stored and the earlier writes of its batch,
//! and nobody is answered before the commit is durable: also a conflict, which may be with a write of the same batch.

use std::sync::mpsc::Receiver;

use redb::ReadableTable as _;
use tokio::sync::oneshot;

use super::super::frame;
use super::super::frame::Condition;
use super::file::{RECORDS, RecordFile};
use super::{Listeners, index};
use crate::domain::ports::{Address, Hints, StoreError, Version};

/// The most writes in one transaction.
const BATCH_WRITES: usize = 512;

/// The most bytes in one transaction, give or take one write: a bound on its memory.
const BATCH_BYTES: usize = 8 * 1_024 * 1_024;

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Write.
    Write(Write),
    /// See whether the file has a fault, and open it again if so.
    Mend,
}

/// One write that waits.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) key: Vec<u8>,
    pub(super) condition: Condition,
    pub(super) frame: Vec<u8>,
    /// What the indices follow.
    pub(super) address: Address,
    pub(super) version: Version,
    pub(super) hints: Hints,
    /// Where the verdict goes. Nobody may be waiting any more; the write is done all the same, because what a caller had
    /// to say before it went may be a token that exists nowhere else.
    pub(super) answer: oneshot::Sender<Result<(), StoreError>>,
}

/// Works until the queue is closed and empty.
pub(super) fn run(file: &RecordFile, listeners: &Listeners, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let batch = gather(first, jobs);
        if batch.is_empty() {
            if file.write(|database| Ok(database.begin_write()?.abort()?)).is_err() {
                file.reopen();
            }
            continue;
        }
        match file.write(|database| commit(database, &batch)) {
            Ok(verdicts) => {
                if verdicts.iter().any(Result::is_ok) {
                    file.count_commit();
                }
                for (write, _) in batch.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_ok()) {
                    listeners.tell(&write.address);
                }
                answer(batch, verdicts);
            }
            Err(fault) => {
                let mend = fault.needs_reopening();
                let cause: &dyn std::error::Error = &fault;
                tracing::error!(cause, writes = batch.len(), "a commit failed");
                // Opened again before anybody is told, so that who tries again finds it open.
                if mend {
                    file.reopen();
                }
                let verdict = Err(StoreError::from(fault));
                let verdicts = vec![verdict; batch.len()];
                answer(batch, verdicts);
            }
        }
    }
}

/// Takes what waits. Mending is implied by writing, so a batch without writes means that only mending was asked for.
fn gather(first: Job, jobs: &Receiver<Job>) -> Vec<Write> {
    let mut batch = Vec::new();
    let mut bytes = 0_usize;
    let mut next = Some(first);
    while let Some(job) = next {
        match job {
            Job::Write(write) => {
                bytes = bytes.saturating_add(write.frame.len());
                batch.push(write);
            }
            Job::Mend => {}
        }
        next = if batch.len() < BATCH_WRITES && bytes < BATCH_BYTES { jobs.try_recv().ok() } else { None };
    }
    batch
}

fn commit(database: &redb::Database, batch: &[Write]) -> Result<Vec<Result<(), StoreError>>, redb::Error> {
    let transaction = database.begin_write()?;
    let mut verdicts = Vec::with_capacity(batch.len());
    {
        let mut records = transaction.open_table(RECORDS)?;
        let mut indices = index::Writing::open(&transaction)?;
        for write in batch {
            let (holds, before) = {
                let found = records.get(write.key.as_slice())?;
                let found = found.as_ref().map(redb::AccessGuard::value);
                (write.condition.holds(found), found.and_then(|found| frame::hints(found).ok()))
            };
            if holds {
                records.insert(write.key.as_slice(), write.frame.as_slice())?;
                indices.follow(write.address.partition(), &write.key, before, write.hints, write.version)?;
            }
            verdicts.push(if holds { Ok(()) } else { Err(StoreError::Conflict) });
        }
    }
    if verdicts.iter().any(Result::is_ok) {
        transaction.commit()?;
    } else {
        transaction.abort()?;
    }
    Ok(verdicts)
}

fn answer(batch: Vec<Write>, verdicts: Vec<Result<(), StoreError>>) {
    for (write, verdict) in batch.into_iter().zip(verdicts) {
        // Whoever has gone is not told.
        drop(write.answer.send(verdict));
    }
}
