//! Many sockets that look for one mark.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};

use crate::Error;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Library {
    Scaleout,
    Socketioxide,
}

/// When a message left, and how long it took, in nanoseconds.
type Received = (u64, u64);

pub(crate) struct Clients {
    tasks: Vec<JoinHandle<()>>,
    received: mpsc::UnboundedReceiver<Received>,
}

impl Clients {
    pub(crate) async fn connect(
        library: Library,
        address: &str,
        count: usize,
    ) -> Result<Self, Error> {
        let (sender, received) = mpsc::unbounded_channel();
        let at_once = Arc::new(Semaphore::new(64));
        let mut opening = Vec::new();
        for _ in 0..count {
            let (address, sender, at_once) = (address.to_owned(), sender.clone(), at_once.clone());
            opening.push(tokio::spawn(async move {
                let _permit = at_once.acquire().await?;
                let socket = open(library, &address).await?;
                Ok::<_, Error>(tokio::spawn(listen(socket, sender)))
            }));
        }
        let mut tasks = Vec::new();
        for open in opening {
            tasks.push(open.await??);
        }
        Ok(Self { tasks, received })
    }

    /// Some of them hang up.
    pub(crate) fn leave(&mut self, count: usize) {
        for task in self.tasks.drain(..count) {
            task.abort();
        }
    }

    /// Deliveries per second of messages that are sent as fast as possible.
    pub(crate) async fn burst(&mut self, address: &str, count: usize) -> Result<f64, Error> {
        let started = Instant::now();
        let done = go(address, count, 0);
        let expected = count * self.tasks.len();
        self.collect(expected).await?;
        let rate = expected as f64 / started.elapsed().as_secs_f64();
        done.await??;
        Ok(rate)
    }

    /// When the last receiver had each message, in milliseconds: the median and the 99th percentile.
    pub(crate) async fn paced(
        &mut self,
        address: &str,
        count: usize,
    ) -> Result<(f64, f64), Error> {
        let done = go(address, count, 100);
        let received = self.collect(count * self.tasks.len()).await?;
        done.await??;
        let mut last = std::collections::HashMap::new();
        for (left, took) in received {
            let slowest = last.entry(left).or_insert(0);
            *slowest = took.max(*slowest);
        }
        let mut last: Vec<u64> = last.into_values().collect();
        last.sort_unstable();
        let at = |share: usize| last[(last.len() * share / 100).min(last.len() - 1)] as f64 / 1e6;
        Ok((at(50), at(99)))
    }

    async fn collect(&mut self, count: usize) -> Result<Vec<Received>, Error> {
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            let next = tokio::time::timeout(Duration::from_secs(20), self.received.recv()).await;
            all.push(next.map_err(|_| format!("{} of {count} arrived", all.len()))?.ok_or("gone")?);
        }
        Ok(all)
    }
}

fn go(address: &str, count: usize, pause: u64) -> JoinHandle<Result<(), Error>> {
    let address = address.to_owned();
    tokio::spawn(async move {
        let mut stream = TcpStream::connect(&address).await?;
        let request = format!(
            "GET /go?count={count}&pause={pause} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        stream.read_to_end(&mut Vec::new()).await?;
        Ok(())
    })
}

async fn open(library: Library, address: &str) -> Result<TcpStream, Error> {
    let (path, hello): (_, &[u8]) = match library {
        Library::Scaleout => ("/hub", b"{\"protocol\":\"json\",\"version\":1}\x1e"),
        Library::Socketioxide => ("/socket.io/?EIO=4&transport=websocket", b"40"),
    };
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    // A text frame with a mask of zeros.
    let length = 0x80 | u8::try_from(hello.len())?;
    stream
        .write_all(&[&[0x81, length, 0, 0, 0, 0], hello].concat())
        .await?;
    let answers = match library {
        Library::Scaleout => 1,
        Library::Socketioxide => 2,
    };
    for _ in 0..answers {
        let (_, length) = (stream.read_u8().await?, stream.read_u8().await?);
        let length = match length {
            126 => stream.read_u16().await?.into(),
            length => usize::from(length),
        };
        stream.read_exact(&mut vec![0; length]).await?;
    }
    Ok(stream)
}

async fn listen(socket: TcpStream, received: mpsc::UnboundedSender<Received>) {
    let mut rest = Vec::new();
    // No buffer while nothing comes: the clients' memory is on the same machine.
    while socket.readable().await.is_ok() {
        let mut buffer = [0; 16 << 10];
        let size = match socket.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(size) => size,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_nanos() as u64;
        rest.extend_from_slice(&buffer[..size]);
        let mut done = 0;
        while let Some(at) = rest[done..].windows(2).position(|two| two == b"T=") {
            let begin = done + at + 2;
            let Some(digits) = rest.get(begin..begin + 20) else {
                break;
            };
            let left: u64 = std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| digits.parse().ok())
                .unwrap_or(now);
            let _ = received.send((left, now.saturating_sub(left)));
            done = begin + 20;
        }
        let keep = rest.len().min(32).min(rest.len() - done);
        rest.drain(..rest.len() - keep);
        if rest.is_empty() {
            rest = Vec::new();
        }
    }
}
