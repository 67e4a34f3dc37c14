//! A Redis server as the conformance suite sees it.

use std::{fmt, sync::Arc};

use scaleout_conformance::{
    Admin, BoxFuture, Broker, Need, Params, Setup, Target,
    broker::{Connection, Redis, Reply, Server},
};
use scaleout_core::{Connector, LogName, Namespace, Result};
use scaleout_redis::connector;

/// The password of the servers that cases own.
const PASSWORD: &str = "c0nf0rmance-s3cret";
/// How many keys a look through the server asks for at a time.
const SCAN: &str = "1000";

/// A server, and the way past the nodes.
pub(crate) struct RedisTarget {
    url: String,
    addr: String,
    password: Option<String>,
}

impl RedisTarget {
    /// The server at `redis://[:PASSWORD@]HOST:PORT/`.
    pub(crate) fn new(url: impl Into<String>) -> Self {
        let url = url.into();
        let authority = url.split('/').nth(2).unwrap_or_default();
        let (user, addr) = authority.rsplit_once('@').unwrap_or(("", authority));
        let password = user
            .split_once(':')
            .map(|(_, password)| password.to_owned());
        Self {
            addr: addr.to_owned(),
            password,
            url,
        }
    }

    /// How to run a server of one's own.
    pub(crate) fn server(setup: Setup) -> Redis {
        let url = move |url: String| {
            let query = match (setup.durable, url.contains('?')) {
                (false, _) => "",
                (true, false) => "?durable=true",
                (true, true) => "&durable=true",
            };
            Arc::new(Self::new(format!("{url}{query}"))) as Arc<dyn Target>
        };
        Redis::new(url)
            .with_password(PASSWORD)
            .with_names(|log| keys(log).to_vec())
            .persistent(setup.persistent)
    }

    async fn call(&self, command: &[&str]) -> Result<Reply> {
        let mut connection = Connection::open(&self.addr, self.password.as_deref()).await?;
        connection.call(command).await
    }
}

/// A log's hash, which is also its channel, and its stream.
fn keys(log: &LogName) -> [String; 2] {
    [format!("so:{{{log}}}"), format!("so:{{{log}}}:s")]
}

impl fmt::Debug for RedisTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTarget")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

impl Target for RedisTarget {
    fn url(&self) -> String {
        self.url.clone()
    }

    fn connector(&self, url: &str) -> Result<Connector> {
        connector(url)
    }

    fn addr(&self) -> Option<String> {
        Some(self.addr.clone())
    }

    fn retention_frames(&self, frames: usize) -> Option<Params> {
        Some(vec![("retention_frames".to_owned(), frames.to_string())])
    }

    fn admin(&self) -> Option<&dyn Admin> {
        Some(self)
    }

    fn offers_broker(&self, _: Need) -> bool {
        Redis::is_installed()
    }

    fn broker(&self, setup: Setup) -> BoxFuture<'_, Result<Box<dyn Broker>>> {
        Box::pin(async move {
            let server = Self::server(setup);
            let server = if setup.tls {
                server.with_tls()?
            } else {
                server
            };
            let server = Server::start(server).await?;
            Ok(Box::new(server) as Box<dyn Broker>)
        })
    }
}

impl Admin for RedisTarget {
    fn offers(&self, _: Need) -> bool {
        true
    }

    fn trim_to_empty<'a>(&'a self, log: &'a LogName) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let [_, stream] = keys(log);
            self.call(&["XTRIM", &stream, "MAXLEN", "0"])
                .await
                .map(drop)
        })
    }

    fn delete_log<'a>(&'a self, log: &'a LogName) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let [hash, stream] = keys(log);
            self.call(&["DEL", &hash, &stream]).await.map(drop)
        })
    }

    fn subscriptions<'a>(&'a self, log: &'a LogName) -> BoxFuture<'a, Result<usize>> {
        Box::pin(async move {
            let [channel, _] = keys(log);
            let reply = self.call(&["PUBSUB", "NUMSUB", &channel]).await?;
            let count = reply.list().get(1).and_then(Reply::number);
            Ok(count
                .and_then(|count| usize::try_from(count).ok())
                .unwrap_or_default())
        })
    }

    fn evict<'a>(&'a self, log: &'a LogName, part: usize) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let keys = keys(log);
            let Some(key) = keys.get(part) else {
                return Ok(false);
            };
            self.call(&["DEL", key]).await?;
            Ok(true)
        })
    }

    fn clean<'a>(&'a self, namespace: &'a Namespace) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut connection = Connection::open(&self.addr, self.password.as_deref()).await?;
            let pattern = format!("so:{{{namespace}/*");
            let mut cursor = "0".to_owned();
            loop {
                let scan = ["SCAN", &cursor, "MATCH", &pattern, "COUNT", SCAN];
                let reply = connection.call(&scan).await?;
                let keys = reply.list().get(1).map(Reply::list).unwrap_or_default();
                let keys: Vec<_> = keys.iter().filter_map(Reply::text).collect();
                if !keys.is_empty() {
                    let command: Vec<_> = ["UNLINK"].into_iter().chain(keys).collect();
                    connection.call(&command).await?;
                }
                match reply.list().first().and_then(Reply::text) {
                    Some(next) if next != "0" => cursor = next.to_owned(),
                    _ => return Ok(()),
                }
            }
        })
    }
}
