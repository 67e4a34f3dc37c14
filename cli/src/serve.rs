//! `scaleout serve`: chat servers, one node each, to see the library work.

mod chat;
mod web;

use std::{
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use axum::Router;
use scaleout::{Backplane, hub::Hub};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

/// Serve a chat, on one or more nodes
///
/// Each address is a node of its own: what is said on one of them appears on all nodes of the
/// backplane, in this process and in others.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to listen; give it several times for several nodes
    #[arg(
        long,
        value_name = "ADDR",
        default_values = ["127.0.0.1:5001", "127.0.0.1:5002"]
    )]
    listen: Vec<SocketAddr>,
    /// The broker, such as redis://127.0.0.1/
    #[arg(long, value_name = "URL", default_value = "memory:")]
    backplane: String,
    /// Another server of the same chat, such as http://127.0.0.1:5002, to which browsers turn when
    /// this one is gone; give it several times for several. The addresses of this process are known
    #[arg(long = "peer", value_name = "URL", value_parser = web::origin)]
    peers: Vec<String>,
}

/// How long the end may take: for connections to be closed, and for the broker each.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (stop, stopping) = watch::channel(false);
    let (mut listeners, mut servers) = (Vec::new(), Vec::new());
    for addr in args.listen {
        let listener = TcpListener::bind(addr)
            .await
            .with_context(|| format!("cannot listen on {addr}"))?;
        // The real address: port 0 asks for any free one.
        servers.push(format!("http://{}", listener.local_addr()?));
        listeners.push(listener);
    }
    let mine = servers.clone();
    servers.extend(args.peers);
    let mut nodes = JoinSet::new();
    for (listener, url) in listeners.into_iter().zip(mine) {
        let backplane = scaleout::connect(&args.backplane).await?;
        let hub = chat::hub(&backplane).await?;
        let app = web::routes(backplane.clone(), &servers).merge(hub.routes("/chat"));
        nodes.spawn(node(listener, app, backplane, hub, stopping.clone()));
        writeln!(io::stdout(), "listening on {url}")?;
    }

    tokio::select! {
        signal = stop_signal() => signal?,
        // A node ends of itself only if it fails.
        Some(ended) = nodes.join_next() => ended??,
    }
    stop.send_replace(true);
    while let Some(ended) = nodes.join_next().await {
        ended??;
    }
    Ok(ExitCode::SUCCESS)
}

/// Serves until told to stop, then says goodbye to the browsers before the backplane closes.
async fn node(
    listener: TcpListener,
    app: Router,
    backplane: Backplane,
    hub: Hub,
    mut stopping: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let stopped = async move {
        // An error says that the other end is gone, which means the same.
        let _ = stopping.wait_for(|stop| *stop).await;
        hub.close(CLOSE_TIMEOUT).await;
    };
    axum::serve(listener, app)
        .with_graceful_shutdown(stopped)
        .await?;
    backplane.close(CLOSE_TIMEOUT).await?;
    Ok(())
}

/// Ctrl-C, or what a service manager sends.
async fn stop_signal() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};

        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupt = tokio::signal::ctrl_c() => interrupt,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
