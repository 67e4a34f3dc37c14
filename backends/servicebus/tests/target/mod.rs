//! The conformance suite against the namespace that `SCALEOUT_TEST_SERVICEBUS` holds the connection
//! string of, or an emulator in a process of its own: this very program, started again.

use std::{
    env, fmt,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use scaleout_conformance::{
    BoxFuture, Broker, Need, Setup, Target,
    broker::{Program, Server},
    libtest::Run,
};
use scaleout_core::{Connector, Error, ErrorKind, Result};
use scaleout_servicebus::connector;
use scaleout_servicebus_emulator::{Config, Emulator, config::KEY};

/// Set for a process that is to be the emulator: where it listens.
const SERVE: &str = "SCALEOUT_SERVICEBUS_SERVE";
/// The connection string of a namespace to test.
const GIVEN: &str = "SCALEOUT_TEST_SERVICEBUS";

/// Runs the suite over this transport; or is the emulator.
pub(crate) fn run(transport: &str) -> ExitCode {
    if let Some(ended) = serve() {
        return ended;
    }
    let shared = match shared() {
        Ok(shared) => shared,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let options = format!("transport={transport}");
    Run::new(ServiceBusTarget::new(&shared.url, &options))
        .expect_skips(include_str!("../expected-skips.txt"))
        .main()
}

/// Is the emulator, if this process was started for that, until it is killed.
fn serve() -> Option<ExitCode> {
    let listen: SocketAddr = env::var(SERVE).ok()?.parse().ok()?;
    let serve = || {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(async {
            let mut config = Config::default();
            config.listen = listen;
            let _emulator = Emulator::start(config).await?;
            std::future::pending().await
        })
    };
    let ended: std::result::Result<(), Box<dyn std::error::Error>> = serve();
    eprintln!("{ended:?}");
    Some(ExitCode::FAILURE)
}

/// The command that runs the emulator: this very program.
fn emulator(port: u16) -> Command {
    let program = env::current_exe().expect("a running program has a path");
    let mut command = Command::new(program);
    command.env(SERVE, format!("127.0.0.1:{port}"));
    command
}

/// The namespace that all cases share, which ends with this.
struct Shared {
    url: String,
    _emulator: Option<Ended>,
}

/// Ends a process when it is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the environment names, or an emulator.
fn shared() -> std::io::Result<Shared> {
    if let Ok(url) = env::var(GIVEN) {
        let _emulator = None;
        return Ok(Shared { url, _emulator });
    }
    let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = free.local_addr()?.port();
    drop(free);
    let child = emulator(port).stdin(Stdio::null()).spawn()?;
    let emulator = Ended(child);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !answers(port) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(Shared {
        url: url_of(port),
        _emulator: Some(emulator),
    })
}

fn url_of(port: u16) -> String {
    format!("servicebus://RootManageSharedAccessKey:{KEY}@127.0.0.1:{port}/?emulator=true")
}

fn answers(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Has the emulator do something that the service does not.
fn strike(port: u16, fault: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let request = format!(
        "POST /$emulator/faults/{fault} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    match answer.ends_with(b"200") {
        true => Ok(()),
        false => Err(std::io::ErrorKind::InvalidData.into()),
    }
}

/// A namespace, and how it is reached.
struct ServiceBusTarget {
    url: String,
    addr: Option<String>,
}

impl ServiceBusTarget {
    /// The namespace of this URL or connection string, with more options.
    fn new(url: &str, options: &str) -> Self {
        let separator = if url.contains('?') { '&' } else { '?' };
        let addr = url
            .split('/')
            .nth(2)
            .filter(|_| url.starts_with("servicebus:"));
        let addr = addr.and_then(|authority| authority.rsplit('@').next());
        Self {
            addr: addr.map(str::to_owned),
            url: format!("{url}{separator}{options}"),
        }
    }
}

impl fmt::Debug for ServiceBusTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceBusTarget")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

impl Target for ServiceBusTarget {
    fn url(&self) -> String {
        self.url.clone()
    }

    fn connector(&self, url: &str) -> Result<Connector> {
        connector(url)
    }

    fn addr(&self) -> Option<String> {
        self.addr.clone()
    }

    fn offers_broker(&self, need: Need) -> bool {
        matches!(need, Need::Broker | Need::Password)
    }

    fn broker(&self, _: Setup) -> BoxFuture<'_, Result<Box<dyn Broker>>> {
        let options = self.url.rsplit('&').next().unwrap_or_default().to_owned();
        Box::pin(async move {
            let server = Server::start(Process { options }).await?;
            Ok(Box::new(server) as Box<dyn Broker>)
        })
    }
}

/// How to run the emulator.
#[derive(Clone, Debug)]
struct Process {
    options: String,
}

impl Program for Process {
    fn command(&self, _: &Path, port: u16) -> Command {
        emulator(port)
    }

    fn target(&self, port: u16) -> Arc<dyn Target> {
        Arc::new(ServiceBusTarget::new(&url_of(port), &self.options))
    }

    fn ready(&self, port: u16) -> BoxFuture<'_, bool> {
        Box::pin(async move { answers(port) })
    }

    fn forgets(&self) -> bool {
        true
    }

    fn revoke(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let revoked = tokio::task::spawn_blocking(move || strike(port, "revoke-keys")).await;
            let failed = |error: &dyn fmt::Display| {
                Error::new(ErrorKind::Broker, format!("no fault: {error}"))
            };
            let revoked = revoked.map_err(|error| failed(&error))?;
            revoked.map_err(|error| failed(&error))
        })
    }

    fn password(&self) -> Option<String> {
        Some(KEY.to_owned())
    }
}
