//! One connection through the proxy.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{
    Direction, Shared, break_off,
    faults::{Faults, Leave},
};
use crate::Rng;

/// The most bytes of one read.
const CHUNK: usize = 16 << 10;
/// Reads that may be held back at a time; beyond that, the sender's own buffers fill.
const CHUNKS: usize = 64;
/// What garbled bytes are mixed with: no byte of ASCII stays one.
const NOISE: u8 = 0xaa;

/// The connection is to end with an RST on both sides.
struct Broken;

/// Carries a connection until both sides have closed it or a fault ends it.
pub(super) async fn run(mut client: TcpStream, shared: Arc<Shared>, rng: Rng) {
    let mut faults = shared.faults.subscribe();
    let resets = faults.borrow().resets;
    let mut reset = std::pin::pin!(async {
        // Cannot fail: the sender is in `shared`.
        let _ = faults.wait_for(|faults| faults.resets > resets).await;
    });

    let server = tokio::select! {
        server = connect(&shared) => server.ok(),
        () = &mut reset => None,
    };
    let Some(mut server) = server else {
        break_off(&client);
        return;
    };
    let _open = Open::new(&shared.open);
    let carried = tokio::select! {
        carried = carry(&mut client, &mut server, &shared, rng) => carried,
        () = &mut reset => Err(Broken),
    };
    if carried.is_err() {
        break_off(&client);
        break_off(&server);
    }
}

async fn connect(shared: &Shared) -> io::Result<TcpStream> {
    let mut faults = shared.faults.subscribe();
    for direction in Direction::BOTH {
        passable(&mut faults, direction).await;
    }
    TcpStream::connect(&shared.upstream).await
}

async fn carry(
    client: &mut TcpStream,
    server: &mut TcpStream,
    shared: &Shared,
    rng: Rng,
) -> Result<(), Broken> {
    for stream in [&*client, &*server] {
        stream.set_nodelay(true).map_err(|_| Broken)?;
    }
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::try_join!(
        pump(
            from_client,
            to_server,
            Direction::ToBroker,
            shared,
            rng.clone()
        ),
        pump(from_server, to_client, Direction::FromBroker, shared, rng),
    )?;
    Ok(())
}

/// Something that came from one side, held until it is due.
enum Held {
    Bytes(Bytes),
    End,
    Broken,
}

async fn pump(
    source: ReadHalf<'_>,
    sink: WriteHalf<'_>,
    direction: Direction,
    shared: &Shared,
    rng: Rng,
) -> Result<(), Broken> {
    let (hold, held) = mpsc::channel(CHUNKS);
    let taking = async {
        take(source, hold, shared, rng).await;
        Ok(())
    };
    tokio::try_join!(taking, pass(held, sink, direction, shared))?;
    Ok(())
}

/// Takes what a side sends. Also its end goes through the queue, so that a fault holds that back too.
async fn take(
    mut source: ReadHalf<'_>,
    hold: mpsc::Sender<(Instant, Held)>,
    shared: &Shared,
    mut rng: Rng,
) {
    let mut due = Instant::now();
    loop {
        let mut bytes = BytesMut::with_capacity(CHUNK);
        let held = match source.read_buf(&mut bytes).await {
            Ok(0) => Held::End,
            Ok(_) => Held::Bytes(bytes.freeze()),
            Err(_) => Held::Broken,
        };
        let (delay, jitter) = shared.faults.borrow().delay;
        // Never before what came earlier: a stream keeps its order.
        due = due.max(Instant::now() + delay + part_of(jitter, &mut rng));
        let ended = !matches!(held, Held::Bytes(_));
        if hold.send((due, held)).await.is_err() || ended {
            return;
        }
    }
}

fn part_of(jitter: Duration, rng: &mut Rng) -> Duration {
    let micros = u64::try_from(jitter.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(rng.next_u64() % micros.saturating_add(1).max(1))
}

async fn pass(
    mut held: mpsc::Receiver<(Instant, Held)>,
    mut sink: WriteHalf<'_>,
    direction: Direction,
    shared: &Shared,
) -> Result<(), Broken> {
    let mut faults = shared.faults.subscribe();
    while let Some((due, held)) = held.recv().await {
        sleep_until(due).await;
        passable(&mut faults, direction).await;
        match held {
            Held::Bytes(mut bytes) => {
                while !bytes.is_empty() {
                    passable(&mut faults, direction).await;
                    let leave = leave(shared, direction, bytes.len());
                    let mut passing = bytes.split_to(leave.bytes);
                    if leave.garble {
                        passing = passing.iter().map(|byte| byte ^ NOISE).collect();
                    }
                    let written = sink.write_all(&passing).await;
                    shared.passed[direction as usize]
                        .fetch_add(passing.len() as u64, Ordering::SeqCst);
                    if leave.cut || written.is_err() {
                        return Err(Broken);
                    }
                }
            }
            Held::End => {
                // The other side may be gone already, which is an end as well.
                let _ = sink.shutdown().await;
            }
            Held::Broken => return Err(Broken),
        }
    }
    Ok(())
}

fn leave(shared: &Shared, direction: Direction, wanted: usize) -> Leave {
    let mut leave = Leave::default();
    shared.faults.send_if_modified(|faults| {
        leave = faults.pass(direction, wanted);
        leave.cut
    });
    leave
}

/// Waits while this way is a black hole.
async fn passable(faults: &mut watch::Receiver<Faults>, direction: Direction) {
    // Cannot fail: the sender is in `Shared`, which outlives every link.
    let _ = faults
        .wait_for(|faults| !faults.blackhole[direction as usize])
        .await;
}

/// Counts an open connection.
struct Open<'a>(&'a AtomicUsize);

impl<'a> Open<'a> {
    fn new(open: &'a AtomicUsize) -> Self {
        open.fetch_add(1, Ordering::SeqCst);
        Self(open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
