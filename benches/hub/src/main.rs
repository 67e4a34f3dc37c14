//! Idle connections and broadcasts on one node, beside the same work on socketioxide.
//!
//! ```sh
//! ulimit -n 30000; cargo run --release --manifest-path benches/hub/Cargo.toml
//! ```
//!
//! Each server is a process of its own. The clients are sockets that parse nothing but a mark in each
//! message, so that they cost both servers the same.

mod clients;
mod server;

use std::{env, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use self::clients::{Clients, Library};

type Error = Box<dyn std::error::Error + Send + Sync>;

const IDLE: usize = 10_000;
const LISTENERS: usize = 5_000;
const BURST: usize = 200;
const PACED: usize = 100;
const ROUNDS: usize = 3;

#[tokio::main]
async fn main() -> Result<(), Error> {
    match env::args().nth(1).as_deref() {
        Some("scaleout") => server::scaleout().await,
        Some("socketioxide") => server::socketioxide().await,
        _ => measure().await,
    }
}

async fn measure() -> Result<(), Error> {
    for round in 1..=ROUNDS {
        for library in [Library::Scaleout, Library::Socketioxide] {
            let (mut server, address) = start(library).await?;
            let pid = server.id().unwrap_or_default();
            let before = resident(pid)?;
            let mut clients = Clients::connect(library, &address, IDLE).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let each = (resident(pid)? - before) / IDLE as u64;
            clients.leave(IDLE - LISTENERS);
            tokio::time::sleep(Duration::from_secs(1)).await;
            let rate = clients.burst(&address, BURST).await?;
            let (p50, p99) = clients.paced(&address, PACED).await?;
            println!(
                "round {round} {library:?}: {each} bytes per idle connection; to {LISTENERS} connections \
                 {rate:.0} messages/s; last receiver p50 {p50:.1} ms, p99 {p99:.1} ms"
            );
            server.kill().await?;
        }
    }
    Ok(())
}

async fn start(library: Library) -> Result<(Child, String), Error> {
    let mut server = Command::new(env::current_exe()?)
        .arg(match library {
            Library::Scaleout => "scaleout",
            Library::Socketioxide => "socketioxide",
        })
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = server.stdout.take().ok_or("no output")?;
    let address = BufReader::new(stdout).lines().next_line().await?;
    Ok((server, address.ok_or("the server ended")?))
}

/// The resident memory of a process, in bytes.
fn resident(pid: u32) -> Result<u64, Error> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: u64 = line
        .and_then(|line| line.split_whitespace().next())
        .ok_or("no VmRSS")?
        .parse()?;
    Ok(kilobytes * 1024)
}
