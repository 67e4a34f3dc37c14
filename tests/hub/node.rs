//! A server with a hub that does what tests ask of it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use axum::Router;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use scaleout::{
    Backplane,
    hub::{AuthError, Context, Credentials, Hub, HubError, HubOptions, Member, Upload, User},
};
use serde_json::Value;
use tokio::{
    io::DuplexStream,
    net::{TcpListener, TcpStream},
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

/// The same on the machine's PostgreSQL.
#[cfg(feature = "postgres")]
pub(crate) fn postgres() -> String {
    let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    format!("postgres://postgres@127.0.0.1/postgres?namespace=hub-{process}-{number}")
}

/// The same on the machine's RabbitMQ. It stays there until it is removed.
#[cfg(feature = "rabbitmq")]
pub(crate) fn rabbitmq() -> String {
    let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    format!("amqp://127.0.0.1/?namespace=hub-{process}-{number}")
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

    async fn tell_user(&self, ctx: Context, user: String, text: String) -> Result<(), HubError> {
        ctx.clients().user(user).send("message", (text,)).await?;
        Ok(())
    }

    async fn count(&self, to: u32) -> Result<impl Stream<Item = Result<u32, HubError>>, HubError> {
        Ok(stream::iter(0..to).map(Ok))
    }

    async fn count_for_ever(&self) -> Result<impl Stream<Item = Result<u32, HubError>>, HubError> {
        let dropped = Dropped(self.log.clone());
        Ok(stream::unfold((dropped, 0), async |(dropped, number)| {
            tokio::task::yield_now().await;
            Some((Ok(number), (dropped, number + 1)))
        }))
    }

    async fn break_off(&self) -> Result<impl Stream<Item = Result<u32, HubError>>, HubError> {
        Ok(stream::iter([Ok(1), Err(HubError::new("no more"))]))
    }

    async fn sum(&self, numbers: Upload<u32>) -> Result<u32, HubError> {
        let sum = numbers
            .try_fold(0, async |sum, number| Ok(sum + number))
            .await;
        if let Err(error) = &sum {
            self.note(format!("upload failed: {error}"));
        }
        sum
    }

    async fn double(
        &self,
        numbers: Upload<u32>,
    ) -> Result<impl Stream<Item = Result<u32, HubError>>, HubError> {
        Ok(numbers.map_ok(|number| number * 2))
    }

    async fn ask(&self, ctx: Context, id: String, question: String) -> Result<String, HubError> {
        let client = ctx.clients().client(id);
        Ok(client.invoke("question", (question,)).await?)
    }

    async fn join_other(&self, ctx: Context, id: String, group: String) -> Result<bool, HubError> {
        Ok(ctx.hub().join(id, group).await?)
    }

    async fn leave_other(&self, ctx: Context, id: String, group: String) -> Result<bool, HubError> {
        Ok(ctx.hub().leave(id, group).await?)
    }

    async fn resume(
        &self,
        ctx: Context,
        group: String,
        cursor: Option<String>,
    ) -> Result<(String, u64, bool), HubError> {
        let resumed = ctx.resume(group, cursor.as_deref()).await?;
        Ok((
            resumed.cursor.to_string(),
            resumed.replayed,
            resumed.complete,
        ))
    }

    async fn members(&self, ctx: Context, group: String) -> Result<Vec<Member>, HubError> {
        Ok(ctx.hub().members(group).await?)
    }

    async fn user(&self, ctx: Context) -> Result<Option<String>, HubError> {
        Ok(ctx.user().id().map(str::to_owned))
    }

    async fn admins_only(&self) -> Result<&'static str, HubError> {
        Ok("welcome")
    }

    async fn join(&self, ctx: Context, group: String) -> Result<(), HubError> {
        Ok(ctx.join(group).await?)
    }

    async fn leave(&self, ctx: Context, group: String) -> Result<(), HubError> {
        Ok(ctx.leave(group).await?)
    }
}

/// Notes when it is dropped.
struct Dropped(mpsc::UnboundedSender<String>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send("dropped".to_owned());
    }
}

/// The token is the user's name; `admin` has a role, and whoever comes as `nobody` is sent away.
async fn authenticate(credentials: Credentials) -> Result<User, AuthError> {
    match credentials.token.as_deref() {
        None => Ok(User::anonymous()),
        Some("forged") => Err(AuthError::Unauthenticated),
        Some("nobody") => Err(AuthError::Forbidden),
        Some("admin") => Ok(User::new("admin").with_claim("role", "admin")),
        Some("expiring") => {
            let soon = std::time::SystemTime::now() + std::time::Duration::from_millis(100);
            Ok(User::new("expiring").with_expiry(soon))
        }
        Some(name) => Ok(User::new(name)),
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
        Self::over(scaleout::connect(url).await.unwrap(), options).await
    }

    /// A node on a backplane that is there.
    pub(crate) async fn over(backplane: Backplane, options: HubOptions) -> Self {
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
            .method("TellUser", TestHub::tell_user)
            .stream("Count", TestHub::count)
            .stream("CountForEver", TestHub::count_for_ever)
            .stream("BreakOff", TestHub::break_off)
            .method("Sum", TestHub::sum)
            .stream("Double", TestHub::double)
            .method("Ask", TestHub::ask)
            .method("JoinOther", TestHub::join_other)
            .method("LeaveOther", TestHub::leave_other)
            .method("Resume", TestHub::resume)
            .method("Members", TestHub::members)
            .method("User", TestHub::user)
            .method("AdminsOnly", TestHub::admins_only)
            .authorize("AdminsOnly", |ctx| ctx.user().has_role("admin"))
            .authenticate(authenticate)
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

    /// The same, as a user.
    pub(crate) async fn client_of(&self, user: &str) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let path = format!("/chat?access_token={user}");
        let mut client = Client::upgrade(stream, &path).await;
        client.shake_hands().await;
        client
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
