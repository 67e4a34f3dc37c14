//! The stream under a connection: TCP or TLS, and a way to end it from outside.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use scaleout_core::{Error, ErrorKind, Result};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::{config::Config, tls};

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A stream that can be cut.
pub(crate) struct Stream {
    io: Box<dyn Io>,
    cut: Arc<Cut>,
}

/// Ends a stream: whoever reads or writes finds it broken, also if he waits already.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    done: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Cut {
    pub(super) fn now(&self) {
        self.done.store(true, Ordering::Release);
        self.reader.wake();
        self.writer.wake();
    }

    pub(super) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    fn check(&self, waker: &AtomicWaker, cx: &Context<'_>) -> io::Result<()> {
        // First the waker, so that a cut after the look is not missed.
        waker.register(cx.waker());
        if self.is_done() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl Stream {
    /// Connects to the namespace.
    pub(crate) async fn connect(config: &Config) -> Result<(Self, Arc<Cut>)> {
        let address = (config.host.as_str(), config.port);
        let tcp = TcpStream::connect(address).await.map_err(unreachable)?;
        // The client writes frame by frame.
        tcp.set_nodelay(true).map_err(unreachable)?;
        let io: Box<dyn Io> = match config.tls {
            true => {
                let client = Arc::new(tls::client(config.ca_cert.as_deref())?);
                Box::new(tls::handshake(client, &config.host, tcp).await?)
            }
            false => Box::new(tcp),
        };
        let cut = Arc::new(Cut::default());
        let stream = Self {
            io,
            cut: cut.clone(),
        };
        Ok((stream, cut))
    }
}

fn unreachable(error: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "cannot connect to servicebus").with_source(error)
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.cut.check(&this.cut.reader, cx)?;
        Pin::new(&mut this.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.cut.check(&this.cut.writer, cx)?;
        Pin::new(&mut this.io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.cut.check(&this.cut.writer, cx)?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.cut.check(&this.cut.writer, cx)?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.cut.check(&this.cut.writer, cx)?;
        Pin::new(&mut this.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}
