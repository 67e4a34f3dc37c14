//! Read: where a log stands, and its frames after a position, in one statement and one snapshot.

use bytes::Bytes;
use scaleout_core::{LogName, Page, Position, Result, Sequence, StoredFrame};
use tokio::time::timeout;
use tokio_postgres::{Client, Row, Statement, types::Type};

use crate::{
    commands::Commands,
    config::Config,
    error::{lacks_schema, nonsense, of, timed_out},
    place::{epoch, number, sequence},
};

/// About how many bytes of frames a page holds.
const PAGE_BYTES: i64 = 1 << 20;

/// The statements of a connection for reads.
pub(crate) struct Reads {
    read: Statement,
    create: Statement,
}

impl Reads {
    pub(crate) async fn prepare(client: &Client) -> Result<Self> {
        let read = "SELECT * FROM scaleout.read($1, $2, $3, $4, $5)";
        let types = [Type::BYTEA, Type::BYTEA, Type::INT8, Type::INT8, Type::INT8];
        let create = "SELECT scaleout.create_log($1, $2)";
        let prepared = async {
            Ok(Self {
                read: client.prepare_typed(read, &types).await?,
                create: client
                    .prepare_typed(create, &[Type::TEXT, Type::BYTEA])
                    .await?,
            })
        };
        prepared
            .await
            .map_err(|error: tokio_postgres::Error| crate::error::of_connecting(&error))
    }
}

impl Commands {
    /// Reads a page, within the request timeout.
    pub(crate) async fn read(
        &self,
        config: &Config,
        log: &LogName,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page> {
        match timeout(config.request_timeout, self.page(log, after, limit)).await {
            Ok(Ok(rows)) => page(&rows).ok_or_else(|| nonsense("a read")),
            Ok(Err(error)) => {
                if lacks_schema(&error) {
                    self.pulse.die();
                }
                Err(of(&error))
            }
            Err(_) => Err(timed_out("a read", config.request_timeout)),
        }
    }

    async fn page(
        &self,
        log: &LogName,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let client = &self.reader.client;
        let name = log.key().into_bytes();
        let epoch = after.map(|position| position.epoch.get().to_be_bytes().to_vec());
        let after = after.map(|position| number(position.sequence));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        // So that the sum of a sequence and a limit stays a number.
        let limit = limit.min(1 << 40);
        loop {
            let rows = client
                .query(
                    &self.reads.read,
                    &[&name, &epoch, &after, &limit, &PAGE_BYTES],
                )
                .await?;
            if !rows.is_empty() {
                return Ok(rows);
            }
            // Nobody used the log yet. From now on it has an epoch.
            let namespace = log.namespace().as_str();
            client
                .execute(&self.reads.create, &[&namespace, &name])
                .await?;
        }
    }
}

fn page(rows: &[Row]) -> Option<Page> {
    let (row, number) = (rows.first()?, |row: &Row, column| {
        row.try_get::<_, i64>(column).ok().and_then(sequence)
    });
    let mut page = Page {
        epoch: epoch(row.try_get(0).ok()?)?,
        floor: number(row, 1)?,
        head: number(row, 2)?,
        frames: Vec::new(),
    };
    if row.try_get::<_, Option<i64>>(3).ok()?.is_some() {
        page.frames.reserve_exact(rows.len());
        for row in rows {
            page.frames.push(StoredFrame {
                first: number(row, 3).filter(|first| *first > Sequence::ZERO)?,
                len: u32::try_from(row.try_get::<_, i32>(4).ok()?).ok()?,
                bytes: Bytes::copy_from_slice(row.try_get(5).ok()?),
            });
        }
    }
    Some(page)
}
