//! Append: the frames of all logs that wait go into one call of a function, and one transaction.

use std::sync::Arc;

use scaleout_core::{Appended, EncodedFrame, Error, LogName, Position, Result};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_postgres::{Client, Row, Statement, types::Type};

use crate::{
    error::{is_contended, lacks_schema, nonsense, of},
    link::Pulse,
    patience::Patience,
    place::{epoch, sequence},
    trim::Trims,
};

/// Frames in one transaction. What notifies commits one after the other, whoever sends it, so the
/// more a transaction carries the better, until it takes longer than its commit.
const BATCH_FRAMES: usize = 256;
/// Bytes in one transaction, for the same reason; a larger frame goes alone.
const BATCH_BYTES: usize = 1 << 20;

/// A frame that waits to be sent.
pub(crate) struct Append {
    pub(crate) log: LogName,
    pub(crate) frame: EncodedFrame,
    pub(crate) reply: oneshot::Sender<Result<Appended>>,
}

/// Where frames wait. Whichever connection is free takes what there is.
pub(crate) type Queue = Arc<Mutex<mpsc::UnboundedReceiver<Append>>>;

/// Calls the function over one connection, one call at a time.
pub(crate) struct Writer {
    pub(crate) client: Arc<Client>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) append: Statement,
    pub(crate) trims: Trims,
    /// Those who send what must wait for others.
    pub(crate) patience: Arc<Patience>,
}

impl Writer {
    /// Sends what is queued, until the queue's other end is dropped.
    pub(crate) async fn work(self, queue: Queue) {
        let mut waiting = Vec::with_capacity(BATCH_FRAMES);
        loop {
            if queue
                .lock()
                .await
                .recv_many(&mut waiting, BATCH_FRAMES)
                .await
                == 0
            {
                return;
            }
            for batch in batches(&mut waiting) {
                self.send(batch).await;
            }
        }
    }

    /// Sends frames, and answers those who wait for them.
    async fn send(&self, mut batch: Vec<Append>) {
        // Nobody waits for these any more, and they were never sent.
        batch.retain(|append| !append.reply.is_closed());
        if batch.is_empty() {
            return;
        }
        let Err((batch, error)) = self.call(batch).await else {
            return;
        };
        if !is_contended(&error) {
            if lacks_schema(&error) {
                self.pulse.die();
            }
            return refuse(batch, &of(&error));
        }
        // Somebody's transaction has published to one of the logs and goes on. The others must not
        // wait for it.
        if batch.len() == 1 {
            return batch
                .into_iter()
                .for_each(|append| self.patience.take(append));
        }
        for append in batch {
            match self.call(vec![append]).await {
                Ok(()) => {}
                Err((one, error)) if is_contended(&error) => {
                    one.into_iter()
                        .for_each(|append| self.patience.take(append));
                }
                Err((one, error)) => refuse(one, &of(&error)),
            }
        }
    }

    /// Calls the function and answers those who wait; or gives them back with the error of the call.
    async fn call(&self, batch: Vec<Append>) -> Result<(), (Vec<Append>, tokio_postgres::Error)> {
        match call(&self.client, &self.append, &batch).await {
            Ok(rows) => {
                answer(batch, &rows, &self.trims);
                Ok(())
            }
            Err(error) => Err((batch, error)),
        }
    }
}

/// What `append` takes and gives.
pub(crate) async fn prepare(client: &Client) -> Result<Statement> {
    let types = [
        Type::TEXT_ARRAY,
        Type::BYTEA_ARRAY,
        Type::BYTEA_ARRAY,
        Type::INT8_ARRAY,
        Type::INT4_ARRAY,
        Type::BYTEA_ARRAY,
    ];
    let query = "SELECT * FROM scaleout.append($1, $2, $3, $4, $5, $6)";
    let prepared = client.prepare_typed(query, &types).await;
    prepared.map_err(|error| crate::error::of_connecting(&error))
}

pub(crate) async fn call(
    client: &Client,
    append: &Statement,
    batch: &[Append],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let mut namespaces = Vec::with_capacity(batch.len());
    let mut names = Vec::with_capacity(batch.len());
    let mut publishers = Vec::with_capacity(batch.len());
    let mut counters = Vec::with_capacity(batch.len());
    let mut lens = Vec::with_capacity(batch.len());
    let mut frames = Vec::with_capacity(batch.len());
    for Append { log, frame, .. } in batch {
        namespaces.push(log.namespace().as_str());
        names.push(log.key().into_bytes());
        publishers.push(frame.publisher().as_bytes().to_vec());
        counters.push(i64::try_from(frame.counter()).unwrap_or(i64::MAX));
        lens.push(i32::try_from(frame.len()).unwrap_or(i32::MAX));
        frames.push(&frame.bytes()[..]);
    }
    client
        .query(
            append,
            &[&namespaces, &names, &publishers, &counters, &lens, &frames],
        )
        .await
}

/// Splits what waits into what goes into one transaction each, in an order in which no two
/// transactions can wait for each other. Frames of one log keep theirs.
fn batches(waiting: &mut Vec<Append>) -> Vec<Vec<Append>> {
    let mut batches: Vec<Vec<Append>> = Vec::new();
    let mut bytes = 0;
    for append in waiting.drain(..) {
        let size = append.frame.bytes().len();
        match batches.last_mut() {
            Some(batch) if bytes + size <= BATCH_BYTES => batch.push(append),
            _ => {
                batches.push(vec![append]);
                bytes = 0;
            }
        }
        bytes += size;
    }
    for batch in &mut batches {
        batch.sort_by_cached_key(|append| append.log.key());
    }
    batches
}

pub(crate) fn answer(batch: Vec<Append>, rows: &[Row], trims: &Trims) {
    if rows.len() != batch.len() {
        return refuse(batch, &nonsense("append").with_unknown_outcome());
    }
    for (append, row) in batch.into_iter().zip(rows) {
        let receipt = read_receipt(row);
        if let Ok((_, Some(number))) = receipt {
            trims.appended(&append.log, number);
        }
        // Whoever waited may have given up.
        let _ = append.reply.send(receipt.map(|(appended, _)| appended));
    }
}

/// The position, and which frame of its log it is; neither for a repetition of something old.
fn read_receipt(row: &Row) -> Result<(Appended, Option<i64>)> {
    let nonsense = || nonsense("append").with_unknown_outcome();
    let of_life = row.try_get(0).ok().and_then(epoch).ok_or_else(nonsense)?;
    let first: Option<i64> = row.try_get(1).map_err(|_| nonsense())?;
    let number = row.try_get(2).map_err(|_| nonsense())?;
    let first = match first {
        Some(first) => Some(Position::new(
            of_life,
            sequence(first).ok_or_else(nonsense)?,
        )),
        None => None,
    };
    Ok((Appended { first }, number))
}

pub(crate) fn refuse(batch: Vec<Append>, error: &Error) {
    let unknown = error.outcome() == scaleout_core::Outcome::Unknown;
    for append in batch {
        let error = match unknown {
            true => error.duplicate().with_unknown_outcome(),
            false => error.duplicate(),
        };
        let _ = append.reply.send(Err(error));
    }
}
