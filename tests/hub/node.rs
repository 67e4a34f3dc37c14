//! A server with a hub that does what tests ask of it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use axum::Router;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use scaleout::{
    Backplane,
    hub::{Context, Hub, HubError, HubOptions},
};
use serde_json::Value;
use tokio::{
    io::DuplexStream,
    net::TcpListener,
    sync::{Notify, mpsc},
    task::JoinSet,
};

use crate::client::Client;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A backplane in this process that no other test uses.
pub(crate) fn memory() -> String {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("memory:?namespace=hub-{number}")
}

/// The same on the machine's Redis.
#[cfg(feature = "redis")]
pub(crate) fn redis() -> String {
    let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    format!("redis://127.0.0.1/?namespace=hub-{process}-{number}")
}

/// The hub under test. What it does is recorded.
#[derive(Clone)]
pub(crate) struct TestHub {
    log: mpsc::UnboundedSender<String>,
    /// Lets `Wait` go on.
    pub(crate) go: Arc<Notify>,
}

impl TestHub {
    fn note(&self, what: impl Into<String>) {
        let _ = self.log.send(what.into());
    }

    async fn connected(&self, ctx: Context) -> Result<(), HubError> {
        if ctx
            .uri()
            .query()
            .is_some_and(|query| query.contains("refuse"))
        {
            return Err(HubError::new("you are not welcome"));
        }
        self.note("connected");
        Ok(())
    }

    async fn disconnected(&self, ctx: Context) -> Result<(), HubError> {
        self.note(format!(
            "disconnected: {}",
            ctx.disconnect_reason().unwrap()
        ));
        Ok(())
    }

    async fn echo(&self, value: Value) -> Result<Value, HubError> {
        Ok(value)
    }

    async fn add(&self, a: i64, b: i64) -> Result<i64, HubError> {
        Ok(a + b)
    }

    async fn blob(&self, size: usize) -> Result<String, HubError> {
        Ok("x".repeat(size))
    }

    async fn void(&self) -> Result<(), HubError> {
        Ok(())
    }

    async fn id(&self, ctx: Context) -> Result<String, HubError> {
        Ok(ctx.connection_id().to_string())
    }

    async fn header(&self, name: String, ctx: Context) -> Result<Option<String>, HubError> {
        let value = ctx
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok());
        Ok(value.map(Into::into))
    }

    async fn fail(&self, text: String) -> Result<(), HubError> {
        Err(HubError::new(text))
    }

    async fn parse(&self, text: String) -> Result<u8, HubError> {
        Ok(text.parse()?)
    }

    async fn panic(&self) -> Result<(), HubError> {
        panic!("a method that panics");
    }

    async fn wait(&self, ctx: Context) -> Result<(), HubError> {
        self.note("waiting");
        self.go.notified().await;
        ctx.caller().send("waited", ()).await?;
        self.note("waited");
        Ok(())
    }

    async fn wait_for_end(&self, ctx: Context) -> Result<(), HubError> {
        self.note("waiting");
        ctx.aborted().await;
        self.note("aborted");
        Ok(())
    }

    async fn abort(&self, ctx: Context) -> Result<(), HubError> {
        ctx.abort();
        Ok(())
    }

    async fn tell_caller(&self, ctx: Context, text: String) -> Result<(), HubError> {
        ctx.caller().send("message", (text,)).await?;
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

    async fn tell_some(
        &self,
        ctx: Context,
        ids: Vec<String>,
        text: String,
    ) -> Result<(), HubError> {
        ctx.clients().clients(ids).send("message", (text,)).await?;
        Ok(())
    }

    async fn tell_group(&self, ctx: Context, group: String, text: String) -> Result<(), HubError> {
        ctx.clients().group(group).send("message", (text,)).await?;
        Ok(())
    }

    async fn tell_others_in_group(
        &self,
        ctx: Context,
        group: String,
        text: String,
    ) -> Result<(), HubError> {
        ctx.others_in_group(group).send("message", (text,)).await?;
        Ok(())
    }

    async fn join(&self, ctx: Context, group: String) -> Result<(), HubError> {
        Ok(ctx.join(group).await?)
    }

    async fn leave(&self, ctx: Context, group: String) -> Result<(), HubError> {
        Ok(ctx.leave(group).await?)
    }
}

/// One server.
pub(crate) struct Node {
    pub(crate) hub: Hub,
    pub(crate) backplane: Backplane,
    pub(crate) state: TestHub,
    pub(crate) address: SocketAddr,
    app: Router,
    log: mpsc::UnboundedReceiver<String>,
    servers: JoinSet<()>,
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::with(HubOptions::new()).await
    }

    pub(crate) async fn with(options: HubOptions) -> Self {
        Self::on(&memory(), options).await
    }

    /// A node on the backplane that `url` names, listening on a free port.
    pub(crate) async fn on(url: &str, options: HubOptions) -> Self {
        let backplane = scaleout::connect(url).await.unwrap();
        let (sender, log) = mpsc::unbounded_channel();
        let state = TestHub {
            log: sender,
            go: Arc::new(Notify::new()),
        };
        let hub = Hub::builder(state.clone())
            .options(options)
            .on_connected(TestHub::connected)
            .on_disconnected(TestHub::disconnected)
            .method("Echo", TestHub::echo)
            .method("Add", TestHub::add)
            .method("Blob", TestHub::blob)
            .method("Void", TestHub::void)
            .method("Id", TestHub::id)
            .method("Header", TestHub::header)
            .method("Fail", TestHub::fail)
            .method("Parse", TestHub::parse)
            .method("Panic", TestHub::panic)
            .method("Wait", TestHub::wait)
            .method("WaitForEnd", TestHub::wait_for_end)
            .method("Abort", TestHub::abort)
            .method("TellCaller", TestHub::tell_caller)
            .method("TellAll", TestHub::tell_all)
            .method("TellOthers", TestHub::tell_others)
            .method("TellSome", TestHub::tell_some)
            .method("TellGroup", TestHub::tell_group)
            .method("TellOthersInGroup", TestHub::tell_others_in_group)
            .method("Join", TestHub::join)
            .method("Leave", TestHub::leave)
            .method("Closure", async |_: &TestHub, text: String| {
                Ok::<_, HubError>(text.len())
            })
            .build(&backplane)
            .await
            .unwrap();
        let app = Router::new().merge(hub.routes("/chat"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut servers = JoinSet::new();
        let served = app.clone();
        servers.spawn(async move { axum::serve(listener, served).await.unwrap() });
        Self {
            hub,
            backplane,
            state,
            address,
            app,
            log,
            servers,
        }
    }

    /// A client that has shaken hands.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// A client over memory instead of a socket, for tests in which time stands still.
    pub(crate) async fn client_in_memory(&mut self) -> Client<DuplexStream> {
        let (client, server) = tokio::io::duplex(1 << 20);
        let service = TowerToHyperService::new(self.app.clone());
        self.servers.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(server), service)
                .with_upgrades();
            let _ = connection.await;
        });
        Client::upgrade(client, "/chat").await
    }

    /// What the hub did next.
    pub(crate) async fn noted(&mut self) -> String {
        self.log.recv().await.unwrap()
    }

    /// Checks what the hub did next.
    pub(crate) async fn expect(&mut self, what: &str) {
        assert_eq!(self.noted().await, what);
    }
}
