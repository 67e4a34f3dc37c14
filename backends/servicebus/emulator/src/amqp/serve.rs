//! Moves bytes between a socket and a connection.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{broadcast::error::RecvError, mpsc},
    time::{Instant, sleep_until},
};

use crate::broker::Broker;

use super::connection::Connection;

/// How often expired tokens are looked for.
const CLAIMS: Duration = Duration::from_millis(500);

/// How often credits are looked for that were not there.
const THROTTLED: Duration = Duration::from_millis(20);

/// How long a client may send nothing at all: twice what it is told.
const SILENCE: Duration = Duration::from_secs(480);

/// Pieces of input that may wait for their delay to pass.
const WAITING: usize = 64;

/// Serves one AMQP connection until either side ends it.
pub(crate) async fn serve<S>(broker: Arc<Broker>, stream: S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (reader, mut writer) = tokio::io::split(stream);
    let mut strikes = broker.faults.strikes();
    let (sender, mut input) = mpsc::channel(WAITING);
    let reading = tokio::spawn(read(Arc::clone(&broker), reader, sender));
    let mut connection = Connection::new(Arc::clone(&broker));
    let mut next_claims = Instant::now() + CLAIMS;
    let mut last_heard = Instant::now();
    let mut last_said = Instant::now();
    let mut more = false;
    let result = loop {
        let mut next = next_claims;
        if connection.throttled {
            next = next.min(Instant::now() + THROTTLED);
        }
        if let Some(heartbeat) = connection.heartbeat() {
            next = next.min(last_said + heartbeat);
        }
        let waker = Arc::clone(&connection.waker);
        tokio::select! {
            biased;
            struck = strikes.recv() => match struck {
                Ok(strike) => connection.strike(&strike),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => break Ok(()),
            },
            bytes = input.recv() => match bytes {
                Some(bytes) => {
                    broker.faults.running().await;
                    last_heard = Instant::now();
                    connection.input(&bytes);
                    // What waits already is taken together, so that answers go together, too.
                    while let Ok(bytes) = input.try_recv() {
                        connection.input(&bytes);
                    }
                }
                None => break Ok(()),
            },
            () = waker.notified() => {}
            () = std::future::ready(()), if more => {}
            () = sleep_until(next) => {}
        }
        broker.faults.running().await;
        if Instant::now() >= next_claims {
            next_claims = Instant::now() + CLAIMS;
            connection.check_claims();
        }
        more = connection.pump();
        let silent = connection
            .heartbeat()
            .is_some_and(|every| last_said.elapsed() >= every);
        if silent && connection.output.is_empty() {
            connection.beat();
        }
        if !connection.output.is_empty() {
            last_said = Instant::now();
            // A client that takes nothing must not hold up a fault.
            let dropped = tokio::select! {
                written = writer.write_all(&connection.output) => { written?; false }
                dropped = drop_struck(&mut strikes) => dropped,
            };
            if dropped {
                break Ok(());
            }
            connection.output.clear();
        }
        if connection.is_closed() || last_heard.elapsed() > SILENCE {
            let _ = writer.shutdown().await;
            break Ok(());
        }
    };
    reading.abort();
    result
}

/// Resolves when connections are to be dropped.
async fn drop_struck(
    strikes: &mut tokio::sync::broadcast::Receiver<crate::faults::Strike>,
) -> bool {
    // A receiver of its own: other strikes stay for when the output has gone.
    let mut strikes = strikes.resubscribe();
    loop {
        match strikes.recv().await {
            Ok(crate::faults::Strike::Drop) | Err(RecvError::Closed) => return true,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
        }
    }
}

/// Reads, and hands on what was read when its delay has passed. The delay is that of a longer wire: it puts
/// off, and does not slow down.
async fn read(
    broker: Arc<Broker>,
    mut reader: impl AsyncRead + Unpin,
    sender: mpsc::Sender<Bytes>,
) {
    let (delayed, mut waiting) = mpsc::channel::<(Instant, Bytes)>(WAITING);
    let handing_on = async {
        while let Some((at, bytes)) = waiting.recv().await {
            // Even a moment that has come would be waited for until the timer's next millisecond.
            if at > Instant::now() {
                sleep_until(at).await;
            }
            if sender.send(bytes).await.is_err() {
                return;
            }
        }
    };
    let reading = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            let at = Instant::now() + broker.faults.delay();
            let bytes = Bytes::copy_from_slice(&buffer[..count]);
            if delayed.send((at, bytes)).await.is_err() {
                break;
            }
        }
        drop(delayed);
    };
    tokio::join!(reading, handing_on);
}
