//! A PostgreSQL database as the conformance suite sees it.

mod ear;

use std::{fmt, sync::Arc, time::Duration};

use scaleout_conformance::{
    Admin, BoxFuture, Broker, Need, Params, Setup, Target,
    broker::{Postgres, Server},
};
use scaleout_core::{Connector, Error, ErrorKind, LogName, Namespace, Result};
use scaleout_postgres::connector;
use sha2::{Digest, Sha256};
use tokio_postgres::{NoTls, types::ToSql};

use self::ear::Ear;

/// The password of the servers that cases own.
const PASSWORD: &str = "c0nf0rmance-s3cret";

/// A database, and the way past the nodes.
pub(crate) struct PostgresTarget {
    url: String,
    addr: String,
    /// Where subscriptions can be counted.
    ear: Option<Ear>,
}

impl PostgresTarget {
    /// The database at `postgres://[USER[:PASSWORD]@]HOST:PORT/DATABASE`.
    pub(crate) fn new(url: impl Into<String>) -> Self {
        let url = url.into();
        let authority = url.split('/').nth(2).unwrap_or_default();
        let (_, addr) = authority.rsplit_once('@').unwrap_or(("", authority));
        Self {
            addr: addr.to_owned(),
            url,
            ear: None,
        }
    }

    /// Lets what nodes tell the server pass through an ear.
    pub(crate) fn overheard(mut self) -> std::io::Result<Self> {
        let ear = Ear::before(std::mem::take(&mut self.addr))?;
        self.addr = ear.addr().to_string();
        let separator = if self.url.contains('?') { '&' } else { '?' };
        self.url = format!("{}{separator}sslmode=disable", self.url_via(ear.addr()));
        self.ear = Some(ear);
        Ok(self)
    }

    /// How to run a server of one's own.
    pub(crate) fn server(setup: Setup) -> Postgres {
        let target = move |url: String| {
            let after = if setup.durable { "restart" } else { "nothing" };
            let query = if url.contains('?') { '&' } else { '?' };
            let url = format!("{url}{query}continue_after={after}");
            Arc::new(Self::new(url)) as Arc<dyn Target>
        };
        Postgres::new(target)
            .with_password(PASSWORD)
            .persistent(setup.persistent)
    }

    /// Does something past the nodes.
    pub(crate) async fn execute(
        &self,
        statement: &str,
        arguments: &[&(dyn ToSql + Sync)],
    ) -> Result<u64> {
        let url = self.url.split('?').next().unwrap_or_default();
        let failed = |error: tokio_postgres::Error| {
            Error::new(ErrorKind::Unavailable, "the administrator failed").with_source(error)
        };
        let (client, driver) = tokio_postgres::connect(url, NoTls).await.map_err(failed)?;
        let driver = tokio::spawn(driver);
        let done = client.execute(statement, arguments).await.map_err(failed);
        drop(client);
        // The case looks at what is connected.
        let _ = driver.await;
        done
    }
}

impl fmt::Debug for PostgresTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresTarget")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

impl Target for PostgresTarget {
    fn url(&self) -> String {
        self.url.clone()
    }

    fn connector(&self, url: &str) -> Result<Connector> {
        connector(url)
    }

    fn addr(&self) -> Option<String> {
        Some(self.addr.clone())
    }

    fn takes_several_addresses(&self) -> bool {
        true
    }

    fn retention_frames(&self, frames: usize) -> Option<Params> {
        Some(vec![("retention_frames".to_owned(), frames.to_string())])
    }

    fn retention_age(&self, age: Duration) -> Option<Params> {
        Some(vec![(
            "retention_age".to_owned(),
            format!("{}s", age.as_secs()),
        )])
    }

    fn admin(&self) -> Option<&dyn Admin> {
        Some(self)
    }

    fn offers_broker(&self, need: Need) -> bool {
        // Rights are on functions, which serve all logs.
        !matches!(need, Need::Fill | Need::Acl) && Postgres::is_installed()
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

impl Admin for PostgresTarget {
    fn offers(&self, need: Need) -> bool {
        need != Need::Subscriptions || self.ear.is_some()
    }

    fn trim_to_empty<'a>(&'a self, log: &'a LogName) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let statement = "DELETE FROM scaleout.frame
                WHERE log = (SELECT id FROM scaleout.log WHERE name = $1)";
            let name = log.key().into_bytes();
            self.execute(statement, &[&name]).await.map(drop)
        })
    }

    fn delete_log<'a>(&'a self, log: &'a LogName) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let name = log.key().into_bytes();
            let statement = "DELETE FROM scaleout.log WHERE name = $1";
            self.execute(statement, &[&name]).await.map(drop)
        })
    }

    fn subscriptions<'a>(&'a self, log: &'a LogName) -> BoxFuture<'a, Result<usize>> {
        Box::pin(async move {
            let Some(ear) = &self.ear else {
                return Err(Error::new(ErrorKind::Unsupported, "nobody overhears it"));
            };
            let hash = Sha256::digest(log.key().as_bytes());
            let hex: String = hash[..16].iter().map(|b| format!("{b:02x}")).collect();
            Ok(ear.count(&format!("scaleout_{hex}")))
        })
    }

    fn evict<'a>(&'a self, log: &'a LogName, part: usize) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let name = log.key().into_bytes();
            let of_log = "log = (SELECT id FROM scaleout.log WHERE name = $1)";
            let statement = match part {
                0 => format!("DELETE FROM scaleout.frame WHERE {of_log}"),
                1 => format!("DELETE FROM scaleout.publisher WHERE {of_log}"),
                2 => "DELETE FROM scaleout.log WHERE name = $1".to_owned(),
                _ => return Ok(false),
            };
            self.execute(&statement, &[&name]).await?;
            Ok(true)
        })
    }

    fn clean<'a>(&'a self, namespace: &'a Namespace) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let statement = "DELETE FROM scaleout.log WHERE namespace = $1";
            self.execute(statement, &[&namespace.as_str()])
                .await
                .map(drop)
        })
    }
}
