//! [`Server`]: a broker process that a case owns, whichever broker it is.

use std::{
    fmt, fs, io,
    net::TcpListener,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, SystemTime},
};

use rustix::process::{Pid, Signal, kill_process};
use scaleout_core::{Epoch, Error, ErrorKind, LogName, Result};
use tempfile::TempDir;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use super::{Broker, Tls, process::Process, unsupported};
use crate::{BoxFuture, Clock, Limits, Target, clock};

/// How long a broker may take to start, on a machine that does nothing else.
const START: Duration = Duration::from_secs(30);
/// How often a starting broker is asked whether it is ready.
const ASK: Duration = Duration::from_millis(10);
/// Below the ports that systems give to outgoing connections: a broker that is down must find its
/// port free when it returns, and nobody may connect to himself there meanwhile.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
/// How many ports are tried before giving up.
const TRIES: usize = 100;

/// What differs from broker to broker. To add one, write this; [`Server`] does the rest.
pub trait Program: fmt::Debug + Send + Sync + 'static {
    /// The command that runs it in the foreground, listening on `port` of 127.0.0.1, with all its
    /// data in `home`.
    fn command(&self, home: &Path, port: u16) -> Command;

    /// How to reach it.
    fn target(&self, port: u16) -> Arc<dyn Target>;

    /// Asks once whether it takes connections and serves them.
    fn ready(&self, port: u16) -> BoxFuture<'_, bool>;

    /// Puts what it needs into its empty home, as `initdb` does.
    fn prepare<'a>(&'a self, home: &'a Path) -> BoxFuture<'a, Result<()>> {
        let _ = home;
        Box::pin(std::future::ready(Ok(())))
    }

    /// The signal that ends it in order.
    fn term(&self) -> Signal {
        Signal::TERM
    }

    /// Whether its data are to end with its process, though it would find them again: then it is
    /// always started on an empty home.
    fn forgets(&self) -> bool {
        false
    }

    /// Its processes, where it has more than the one that was started: what is done to that one is
    /// done to them.
    fn processes(&self, home: &Path) -> Vec<Pid> {
        let _ = home;
        Vec::new()
    }

    /// Removes all data while it runs.
    fn wipe(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        let _ = port;
        unsupported("be wiped while it runs")
    }

    /// Writes what it holds in memory to its home.
    fn flush(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        let _ = port;
        Box::pin(std::future::ready(Ok(())))
    }

    /// See [`Broker::time`].
    fn time(&self, port: u16) -> BoxFuture<'_, Result<SystemTime>> {
        let _ = port;
        unsupported("tell the time")
    }

    /// See [`Broker::fill`].
    fn fill(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        let _ = port;
        unsupported("run out of memory")
    }

    /// See [`Broker::relieve`].
    fn relieve(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        let _ = port;
        unsupported("be given memory")
    }

    /// See [`Broker::revoke`].
    fn revoke(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        let _ = port;
        unsupported("revoke credentials")
    }

    /// See [`Broker::kick`].
    fn kick(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        let _ = port;
        unsupported("throw clients out")
    }

    /// See [`Broker::password`].
    fn password(&self) -> Option<String> {
        None
    }

    /// See [`Broker::tls`].
    fn tls(&self, port: u16) -> Option<Tls> {
        let _ = port;
        None
    }

    /// See [`Broker::restricted`].
    fn restricted<'a>(
        &'a self,
        port: u16,
        logs: &'a [LogName],
    ) -> BoxFuture<'a, Result<Arc<dyn Target>>> {
        let _ = (port, logs);
        unsupported("restrict a user to some logs")
    }

    /// See [`Broker::read_only`].
    fn read_only(&self, port: u16) -> BoxFuture<'_, Result<Arc<dyn Target>>> {
        let _ = port;
        unsupported("refuse to be written to")
    }
}

/// A broker process on a free port with its data in a directory of its own. Dropping it kills the
/// process and removes the directory, also when the case panics.
#[derive(Debug)]
pub struct Server<P: Program> {
    program: P,
    port: u16,
    /// Where the process is; dropped before the directory.
    process: Mutex<Option<Process>>,
    clock: Mutex<Clock>,
    directory: TempDir,
}

impl<P: Program> Server<P> {
    /// Starts a broker. Resolves once it takes connections.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if it cannot be started, with what it wrote.
    pub async fn start(program: P) -> Result<Self> {
        let server = Self {
            program,
            port: free_port()?,
            process: Mutex::default(),
            clock: Mutex::default(),
            directory: TempDir::with_prefix("scaleout-broker-")
                .map_err(|e| failed("no directory", e))?,
        };
        server.empty_home().await?;
        server.run().await?;
        Ok(server)
    }

    /// What kind of broker it is.
    pub fn program(&self) -> &P {
        &self.program
    }

    /// The port on 127.0.0.1 that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    fn copy(&self) -> PathBuf {
        self.directory.path().join("copy")
    }

    async fn empty_home(&self) -> Result<()> {
        let home = self.home();
        remove(&home)?;
        fs::create_dir(&home).map_err(|error| failed("no home for the broker", error))?;
        self.program.prepare(&home).await
    }

    async fn run(&self) -> Result<()> {
        let mut running = self.process.lock().await;
        let mut command = self.program.command(&self.home(), self.port);
        clock::give(&mut command, *self.clock.lock().await);
        let log = self.directory.path().join("log");
        let mut process = Process::spawn(command, &log)
            .map_err(|error| failed("the broker does not start", error))?;
        let deadline = Instant::now() + Limits::from_env().scaled(START);
        while !self.program.ready(self.port).await {
            let ended = process.has_ended().unwrap_or(true);
            if ended || Instant::now() > deadline {
                let how = if ended {
                    "ended while it started"
                } else {
                    "does not become ready"
                };
                let told = process.told();
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    format!("the broker {how}: {told}"),
                ));
            }
            sleep(ASK).await;
        }
        *running = Some(process);
        Ok(())
    }

    async fn signal(&self, signal: Signal) -> Result<()> {
        match &*self.process.lock().await {
            Some(process) => {
                process.signal(signal).map_err(|e| failed("no signal", e))?;
                self.signal_others(signal);
                Ok(())
            }
            None => Err(Error::new(
                ErrorKind::Unavailable,
                "the broker is not running",
            )),
        }
    }

    /// Does to the other processes what was done to the first. They end by themselves when that has
    /// ended, but not at once, and not while they are stopped.
    fn signal_others(&self, signal: Signal) {
        for process in self.program.processes(&self.home()) {
            // Fails only if it has ended meanwhile.
            let _ = kill_process(process, signal);
        }
    }

    async fn is_running(&self) -> bool {
        self.process.lock().await.is_some()
    }
}

impl<P: Program> Drop for Server<P> {
    fn drop(&mut self) {
        drop(self.process.get_mut().take());
        self.signal_others(Signal::KILL);
    }
}

impl<P: Program> Broker for Server<P> {
    fn target(&self) -> Arc<dyn Target> {
        self.program.target(self.port)
    }

    fn start(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            if self.program.forgets() {
                self.empty_home().await?;
            }
            self.run().await
        })
    }

    fn kill(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            drop(self.process.lock().await.take());
            self.signal_others(Signal::KILL);
            Ok(())
        })
    }

    fn term(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            let mut running = self.process.lock().await;
            let Some(process) = &mut *running else {
                return Ok(());
            };
            process
                .signal(self.program.term())
                .map_err(|error| failed("no signal", error))?;
            process
                .ended()
                .await
                .map_err(|error| failed("the broker does not end", error))?;
            *running = None;
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.signal(Signal::STOP))
    }

    fn cont(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.signal(Signal::CONT))
    }

    fn set_clock(&self, clock: Clock) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            *self.clock.lock().await = clock;
            Ok(())
        })
    }

    fn time(&self) -> BoxFuture<'_, Result<SystemTime>> {
        self.program.time(self.port)
    }

    fn wipe(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            if self.is_running().await {
                return self.program.wipe(self.port).await;
            }
            self.empty_home().await
        })
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            if self.is_running().await {
                self.program.flush(self.port).await?;
            }
            remove(&self.copy())?;
            copy(&self.home(), &self.copy()).map_err(|error| failed("no copy of the data", error))
        })
    }

    fn restore(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            if self.is_running().await {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "the broker is still running",
                ));
            }
            remove(&self.home())?;
            copy(&self.copy(), &self.home()).map_err(|error| failed("no data put back", error))
        })
    }

    fn fill(&self) -> BoxFuture<'_, Result<()>> {
        self.program.fill(self.port)
    }

    fn relieve(&self) -> BoxFuture<'_, Result<()>> {
        self.program.relieve(self.port)
    }

    fn revoke(&self) -> BoxFuture<'_, Result<()>> {
        self.program.revoke(self.port)
    }

    fn kick(&self) -> BoxFuture<'_, Result<()>> {
        self.program.kick(self.port)
    }

    fn password(&self) -> Option<String> {
        self.program.password()
    }

    fn tls(&self) -> Option<Tls> {
        self.program.tls(self.port)
    }

    fn restricted<'a>(&'a self, logs: &'a [LogName]) -> BoxFuture<'a, Result<Arc<dyn Target>>> {
        self.program.restricted(self.port, logs)
    }

    fn read_only(&self) -> BoxFuture<'_, Result<Arc<dyn Target>>> {
        self.program.read_only(self.port)
    }
}

/// A port that nobody uses now. Tests that run at the same time start looking at different places.
pub(super) fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let seed = u16::try_from(Epoch::random().get() & 0x7fff).unwrap_or_default();
    let span = PORTS.end - PORTS.start;
    for _ in 0..TRIES {
        let offset = seed.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % span;
        let port = PORTS.start + offset;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        "no free port for a broker",
    ))
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("old data cannot be removed", error))
        }
        _ => Ok(()),
    }
}

/// Copies a directory with all in it, and whose it is.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let to = to.join(entry.file_name());
        if kind.is_dir() {
            copy(&entry.path(), &to)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &to)?;
            own(&entry.path(), &to)?;
        }
    }
    own(from, to)
}

/// Makes `to` as `from` is: the same owner, the same permissions.
fn own(from: &Path, to: &Path) -> io::Result<()> {
    let like = fs::metadata(from)?;
    fs::set_permissions(to, like.permissions())?;
    chown(to, Some(like.uid()), Some(like.gid()))
}

fn failed(what: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, what).with_source(error)
}
