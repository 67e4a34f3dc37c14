//! The servers under test. `/go?count=N&pause=MS` has them broadcast.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::{Router, extract::Query, routing::get};
use scaleout::hub::Hub;
use socketioxide::{SocketIo, extract::SocketRef};
use tokio::net::TcpListener;

use crate::Error;

#[derive(Clone, Copy)]
struct Go {
    count: usize,
    pause: Duration,
}

fn go(Query(query): Query<Vec<(String, u64)>>) -> Go {
    let value = |name: &str| {
        let found = query.iter().find(|(key, _)| key == name);
        found.map_or(0, |(_, value)| *value)
    };
    Go {
        count: value("count") as usize,
        pause: Duration::from_millis(value("pause")),
    }
}

/// 200 bytes that say when they left.
fn text() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_nanos();
    format!("T={now:020};{}", "x".repeat(177))
}

pub(crate) async fn scaleout() -> Result<(), Error> {
    let backplane = scaleout::connect("memory:").await?;
    let hub = Hub::builder(()).name("bench").build(&backplane).await?;
    let context = hub.context();
    let broadcast = move |query| async move {
        let Go { count, pause } = go(query);
        for _ in 0..count {
            let sent = context.clients().all().send("m", (text(),)).await;
            assert!(sent.is_ok());
            tokio::time::sleep(pause).await;
        }
    };
    serve(hub.routes("/hub").route("/go", get(broadcast))).await
}

pub(crate) async fn socketioxide() -> Result<(), Error> {
    let (layer, io) = SocketIo::builder()
        .ping_interval(Duration::from_secs(600))
        .build_layer();
    io.ns("/", async |_: SocketRef| {});
    let broadcast = move |query| async move {
        let Go { count, pause } = go(query);
        for _ in 0..count {
            // A client whose queue is full misses the message; the measurement would not end then.
            let _ = io.emit("m", &text()).await;
            tokio::time::sleep(pause).await;
        }
    };
    serve(Router::new().route("/go", get(broadcast)).layer(layer)).await
}

async fn serve(app: Router) -> Result<(), Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}
