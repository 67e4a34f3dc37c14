//! Two nodes of one hub, for the official JavaScript client to talk to: `tests/clients`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::unused_async, reason = "hub methods are async")]

use std::{
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path as Parameters, State},
    routing::post,
};
use scaleout::hub::{Context, Hub, HubError};
use serde_json::Value;
use tokio::{net::TcpListener, runtime::Runtime};

struct Tested;

impl Tested {
    async fn add(&self, a: i64, b: i64) -> Result<i64, HubError> {
        Ok(a + b)
    }

    async fn echo(&self, value: Value) -> Result<Value, HubError> {
        Ok(value)
    }

    async fn void(&self) -> Result<(), HubError> {
        Ok(())
    }

    async fn id(&self, ctx: Context) -> Result<String, HubError> {
        Ok(ctx.connection_id().to_string())
    }

    async fn fail(&self, text: String) -> Result<(), HubError> {
        Err(HubError::new(text))
    }

    async fn crash(&self) -> Result<u8, HubError> {
        Ok("not a number".parse()?)
    }

    async fn abort(&self, ctx: Context) -> Result<(), HubError> {
        ctx.abort();
        Ok(())
    }

    async fn tell_all(&self, ctx: Context, text: String) -> Result<(), HubError> {
        ctx.clients().all().send("message", (text,)).await?;
        Ok(())
    }

    async fn tell_others(&self, ctx: Context, text: String) -> Result<(), HubError> {
        ctx.others().send("message", (text,)).await?;
        Ok(())
    }

    async fn tell_caller(&self, ctx: Context, text: String) -> Result<(), HubError> {
        ctx.caller().send("message", (text,)).await?;
        Ok(())
    }

    async fn tell_one(&self, ctx: Context, id: String, text: String) -> Result<(), HubError> {
        ctx.clients().client(id).send("message", (text,)).await?;
        Ok(())
    }

    async fn tell_group(&self, ctx: Context, group: String, text: String) -> Result<(), HubError> {
        ctx.clients().group(group).send("message", (text,)).await?;
        Ok(())
    }

    async fn join(&self, ctx: Context, group: String) -> Result<(), HubError> {
        Ok(ctx.join(group).await?)
    }

    async fn leave(&self, ctx: Context, group: String) -> Result<(), HubError> {
        Ok(ctx.leave(group).await?)
    }
}

/// A node on a runtime of its own, so that it can be made to vanish as a process does.
struct Node {
    runtime: Runtime,
    hub: Hub,
    address: SocketAddr,
}

impl Node {
    fn start(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (hub, listener) = runtime.block_on(async {
            let backplane = scaleout::connect("memory:?namespace=official-client")
                .await
                .unwrap();
            let hub = Hub::builder(Tested)
                .method("Add", Tested::add)
                .method("Echo", Tested::echo)
                .method("Void", Tested::void)
                .method("Id", Tested::id)
                .method("Fail", Tested::fail)
                .method("Crash", Tested::crash)
                .method("Abort", Tested::abort)
                .method("TellAll", Tested::tell_all)
                .method("TellOthers", Tested::tell_others)
                .method("TellCaller", Tested::tell_caller)
                .method("TellOne", Tested::tell_one)
                .method("TellGroup", Tested::tell_group)
                .method("Join", Tested::join)
                .method("Leave", Tested::leave)
                .build(&backplane)
                .await
                .unwrap();
            (hub, TcpListener::bind(address).await.unwrap())
        });
        let address = listener.local_addr().unwrap();
        let app = Router::new().merge(hub.routes("/chat"));
        runtime.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            runtime,
            hub,
            address,
        }
    }

    /// Starts another node in place of this one, which says goodbye or just vanishes.
    fn replace(self, politely: bool) -> Self {
        if politely {
            self.runtime
                .block_on(self.hub.close(Duration::from_secs(5)));
        }
        let address = self.address;
        self.runtime.shutdown_timeout(Duration::from_secs(5));
        Self::start(address)
    }

    fn url(&self) -> String {
        format!("http://{}/chat", self.address)
    }
}

type Nodes = Arc<Mutex<[Option<Node>; 2]>>;

async fn control(
    State(nodes): State<Nodes>,
    Parameters((how, which)): Parameters<(String, String)>,
) {
    let replace = move || {
        let mut nodes = nodes.lock().unwrap();
        let node = &mut nodes[usize::from(which == "b")];
        *node = node.take().map(|node| node.replace(how == "restart"));
    };
    tokio::task::spawn_blocking(replace).await.unwrap();
}

#[test]
fn the_official_client_is_served_by_two_nodes() {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let [a, b] = [Node::start(any), Node::start(any)];
    let urls = [a.url(), b.url()];
    let nodes: Nodes = Arc::new(Mutex::new([Some(a), Some(b)]));

    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind(any)).unwrap();
    let control_url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new()
        .route("/{how}/{which}", post(control))
        .with_state(nodes.clone());
    runtime.spawn(async move { axum::serve(listener, app).await.unwrap() });

    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    if !tests.join("node_modules").exists() {
        let installed = Command::new("npm")
            .args(["ci", "--silent"])
            .current_dir(&tests)
            .status();
        assert!(installed.unwrap().success(), "npm ci");
    }
    let passed = Command::new("node")
        .args(["--test", "--test-reporter=spec", "hub.test.mjs"])
        .current_dir(&tests)
        .env("HUB_A", &urls[0])
        .env("HUB_B", &urls[1])
        .env("CONTROL", control_url)
        .status();
    assert!(passed.unwrap().success(), "node --test");

    // A runtime must not be dropped within another one, where the last owner of the nodes lives.
    for node in &mut *nodes.lock().unwrap() {
        *node = None;
    }
}
