//! How a node comes to know the directory: it makes it if there is none, reads it, and follows it.

use std::time::Duration;

use lapin::types::FieldTable;
use scaleout_core::{Error, ErrorKind, Result};

use crate::{
    connection::Pulse,
    directory::{self, Directory},
    error::{is_missing, is_refusal, lost, of_client},
    link::Link,
    names,
    stream::{From, QUIET, Records, last},
};

/// How many records are asked for at a time.
const PREFETCH: u16 = 256;
/// How long a directory that may have just been made may seem empty before its first record is
/// written. One too many does no harm.
const QUIET_WHEN_NEW: Duration = Duration::from_millis(50);

impl Link {
    /// Reads the directory, and goes on following it. `known` says that there has been one.
    pub(crate) async fn read_directory(&self, known: bool) -> Result<()> {
        let name = names::directory(&self.config.namespace);
        let records = self.open_directory(&name, known).await;
        let records = records.map_err(|error| match is_missing(&error, &name) {
            // It was there, or made, a moment ago: nodes that make one at once can undo each other's.
            true => lost(),
            false => of_client(&error),
        })?;
        let (directory, pulse) = (self.directory.clone(), self.pulse.clone());
        self.spawn(async move { follow(records, &directory, &pulse).await });
        Ok(())
    }

    /// Reads what there is. What comes is read on.
    ///
    /// RabbitMQ answers whether there is a stream by closing the channel if there is none, which
    /// lapin logs as an error. So a node that has yet to see a directory has one made without asking.
    async fn open_directory(&self, name: &str, known: bool) -> lapin::Result<Records> {
        let make = || self.declare_stream(name, FieldTable::default());
        let made = match known {
            true => None,
            false => Some(make().await),
        };
        let quiet = match &made {
            Some(Ok(0)) => QUIET_WHEN_NEW,
            // The rights to declare are only needed where there is no directory yet.
            Some(Err(error)) if !is_refusal(error) => return Err(error.clone()),
            _ => QUIET,
        };
        let say = || async {
            let record = directory::logs(self.config.logs.get());
            self.write(name, record.as_bytes()).await.map(drop)
        };
        let begin = || async {
            let end = async { last(self.channel().await?, name, quiet, say).await };
            let records =
                async { Records::open(self.channel().await?, name, From::First, PREFETCH).await };
            tokio::try_join!(end, records)
        };
        let (end, mut records) = match begin().await {
            Err(error) if is_missing(&error, name) => {
                if let Some(Err(refusal)) = made {
                    return Err(refusal);
                }
                make().await?;
                say().await?;
                begin().await?
            }
            begun => begun?,
        };
        while let Some(record) = records.next().await? {
            self.directory.apply(&record.body);
            if end.as_ref().is_none_or(|end| record.offset >= end.offset) {
                break;
            }
        }
        if self.directory.logs().is_none() {
            // Whoever made it did not get to the first record.
            say().await?;
        }
        while self.directory.logs().is_none() {
            let Some(record) = records.next().await? else {
                break;
            };
            self.directory.apply(&record.body);
        }
        Ok(records)
    }
}

/// Takes the directory's records until the connection ends. If the directory itself is deleted, the
/// node begins anew, as a stream of the same name that somebody else makes is another directory.
async fn follow(mut records: Records, directory: &Directory, pulse: &Pulse) {
    loop {
        match records.next().await {
            Ok(Some(record)) => directory.apply(&record.body),
            Ok(None) => {
                return pulse.die(Error::new(
                    ErrorKind::Unavailable,
                    "rabbitmq: the directory of the namespace was deleted",
                ));
            }
            Err(error) => return pulse.die(of_client(&error)),
        }
    }
}
