//! A server that offers what the test suites of SignalR clients expect of one.
//!
//! ```sh
//! cargo run -p scaleout-test-host -- http://127.0.0.1:5000
//! ```
//!
//! On an `https://` address it speaks HTTP/2 as well, with a certificate that nobody has signed.

#![expect(clippy::unused_async, reason = "hub methods are async")]

mod hub;
mod jwt;
mod tls;
mod web;

use std::{
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
};

use axum::Router;
use scaleout::hub::{
    Hub, HubContext, HubOptions, RawConnection, RawEndpoint, Transport, ignore_case,
};
use tokio::{net::TcpListener, task::JoinSet};

use self::tls::TlsListener;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

async fn run() -> Result<(), Error> {
    let app = app().await?;
    let mut servers = JoinSet::new();
    for (scheme, address) in addresses(std::env::args().skip(1))? {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let app = app.clone();
        if scheme == "https" {
            let listener = TlsListener::new(listener)?;
            servers.spawn(async move { axum::serve(listener, app).await });
        } else {
            servers.spawn(async move { axum::serve(listener, app).await });
        }
        writeln!(io::stdout(), "Now listening on: {scheme}://{address}")?;
    }
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => Ok(interrupt?),
        Some(ended) = servers.join_next() => Ok(ended??),
    }
}

/// Takes `http://host:port`, `https://host:port`, `host:port`, several of them parted by semicolons, and `--urls` and
/// `--listen` before them.
fn addresses(args: impl Iterator<Item = String>) -> Result<Vec<(&'static str, SocketAddr)>, Error> {
    let mut addresses = Vec::new();
    for arg in args {
        let urls = arg
            .trim_start_matches("--urls")
            .trim_start_matches("--listen");
        for url in urls
            .trim_start_matches('=')
            .split(';')
            .filter(|url| !url.is_empty())
        {
            let (scheme, address) = match url.strip_prefix("https://") {
                Some(address) => ("https", address),
                None => ("http", url.trim_start_matches("http://")),
            };
            let address = address.trim_end_matches('/');
            let address = address
                .replace("localhost", "127.0.0.1")
                .parse()
                .map_err(|_| format!("{arg:?} is not an address"))?;
            addresses.push((scheme, address));
        }
    }
    if addresses.is_empty() {
        addresses.push(("http", SocketAddr::from(([127, 0, 0, 1], 0))));
    }
    Ok(addresses)
}

async fn app() -> Result<Router, Error> {
    let backplane = scaleout::connect("memory:").await?;
    let options = HubOptions::new()
        .with_enable_detailed_errors(true)
        .with_allow_stateful_reconnects(true);
    let without_web_sockets = options
        .clone()
        .with_transports([Transport::ServerSentEvents, Transport::LongPolling]);
    let test_hub = hub::test_hub("TestHub", options.clone(), &backplane).await?;
    let no_web_sockets = hub::test_hub("NoWebSockets", without_web_sockets, &backplane).await?;
    let authorized = Hub::builder(hub::Authorized)
        .options(options)
        .authenticate(jwt::authenticate)
        .method("Echo", hub::Authorized::echo)
        .build(&backplane)
        .await?;
    let echo = RawEndpoint::new(HubOptions::new(), async |mut connection: RawConnection| {
        while let Some(bytes) = connection.receive().await {
            connection.send(bytes).await;
        }
    })?;
    let hubs: [HubContext; 2] = [test_hub.context(), no_web_sockets.context()];
    let app = Router::new()
        .merge(test_hub.routes("/testhub"))
        .merge(no_web_sockets.routes("/testhub-nowebsockets"))
        .merge(authorized.routes("/authorizedhub"))
        .merge(echo.routes("/echo"))
        .merge(web::routes(hubs));
    Ok(web::with_cors_and_cookies(ignore_case(
        app,
        [
            "/testhub",
            "/testhub-nowebsockets",
            "/authorizedhub",
            "/echo",
            "/redirect",
            "/bad-negotiate",
            "/generatejwttoken",
        ],
    )))
}
