//! [`Redis`]: how to run a Redis server.

use std::{
    fmt,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use scaleout_core::{Error, ErrorKind, LogName, Result};

use super::{
    Tls,
    resp::{Connection, Reply},
    server::{Program, free_port},
    tls::{Certificates, HOST, OTHER_HOST},
};
use crate::{BoxFuture, Target};

/// Makes a target out of a URL, which has a query if it speaks TLS.
type MakeTarget = Arc<dyn Fn(String) -> Arc<dyn Target> + Send + Sync>;
/// Names the keys and channels that belong to a log.
type Names = fn(&LogName) -> Vec<String>;

/// How to run a Redis server: `redis-server` from the path, or what `SCALEOUT_REDIS_SERVER` names.
#[derive(Clone)]
pub struct Redis {
    make_target: MakeTarget,
    names: Option<Names>,
    persistent: bool,
    password: Option<String>,
    config: Vec<(String, String)>,
    tls: Option<(Arc<Certificates>, u16)>,
}

impl Redis {
    /// A server that keeps nothing beyond its process. `make_target` makes the target for its URL.
    pub fn new(make_target: impl Fn(String) -> Arc<dyn Target> + Send + Sync + 'static) -> Self {
        Self {
            make_target: Arc::new(make_target),
            names: None,
            persistent: false,
            password: None,
            config: Vec::new(),
            tls: None,
        }
    }

    /// Whether there is a Redis server to run.
    pub fn is_installed() -> bool {
        Command::new(executable()).arg("--version").output().is_ok()
    }

    /// What it acknowledges is on disk before the answer leaves: `appendfsync always`.
    #[must_use]
    pub fn persistent(mut self, persistent: bool) -> Self {
        self.persistent = persistent;
        self
    }

    /// It asks for this password. Only characters that need no escape in a URL.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Sets one of the server's own options: `("maxmemory", "100mb")`.
    #[must_use]
    pub fn with_config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.push((name.into(), value.into()));
        self
    }

    /// Its clients reach it by TLS. The administrator's port stays as it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](scaleout_core::ErrorKind::Unavailable) if there is no port, or no
    /// place for certificates.
    pub fn with_tls(mut self) -> Result<Self> {
        self.tls = Some((Arc::new(Certificates::make()?), free_port()?));
        Ok(self)
    }

    /// Says which keys and channels belong to a log, so that access to them can be denied.
    #[must_use]
    pub fn with_names(mut self, names: Names) -> Self {
        self.names = Some(names);
        self
    }

    /// Opens an administrator's connection.
    ///
    /// # Errors
    ///
    /// As [`Connection::open`].
    pub async fn admin(&self, port: u16) -> Result<Connection> {
        Connection::open(("127.0.0.1", port), self.password.as_deref()).await
    }

    async fn command(&self, port: u16, command: &[&str]) -> Result<Reply> {
        self.admin(port).await?.call(command).await
    }

    /// The target for an address, and a file of authorities to trust.
    fn by(&self, host: &str, port: u16, authority: Option<&Path>) -> Arc<dyn Target> {
        let password = self.password.iter().map(|password| format!(":{password}@"));
        let password: String = password.collect();
        (self.make_target)(match authority {
            None => format!("redis://{password}{host}:{port}/"),
            Some(path) => {
                let path = path.display();
                format!("rediss://{password}{host}:{port}/?ca_cert={path}")
            }
        })
    }

    /// A user with this password and these rules, and the target for them.
    async fn user(&self, port: u16, name: &str, rules: &[&str]) -> Result<Arc<dyn Target>> {
        let mut command = vec!["ACL", "SETUSER", name, "reset", "on", ">secret"];
        command.extend(rules);
        self.command(port, &command).await?;
        Ok((self.make_target)(format!(
            "redis://{name}:secret@127.0.0.1:{port}/"
        )))
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("persistent", &self.persistent)
            .field("password", &self.password.is_some())
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Program for Redis {
    fn command(&self, home: &Path, port: u16) -> Command {
        let mut command = Command::new(executable());
        let mut set = |name: &str, value: &str| {
            command.arg(format!("--{name}"));
            command.args(value.split(' '));
        };
        set("port", &port.to_string());
        set("bind", "127.0.0.1");
        set("daemonize", "no");
        if self.persistent {
            set("appendonly", "yes");
            set("appendfsync", "always");
        } else {
            set("appendonly", "no");
        }
        if let Some(password) = &self.password {
            set("requirepass", password);
        }
        if let Some((certificates, port)) = &self.tls {
            set("tls-port", &port.to_string());
            set("tls-auth-clients", "no");
            for (name, path) in [
                ("tls-ca-cert-file", certificates.authority()),
                ("tls-cert-file", certificates.certificate()),
                ("tls-key-file", certificates.key()),
            ] {
                set(name, &path.to_string_lossy());
            }
        }
        for (name, value) in &self.config {
            set(name, value);
        }
        command.args(["--save", ""]);
        command.current_dir(home);
        command
    }

    fn target(&self, port: u16) -> Arc<dyn Target> {
        match &self.tls {
            None => self.by("127.0.0.1", port, None),
            Some((certificates, port)) => self.by(HOST, *port, Some(&certificates.authority())),
        }
    }

    fn ready(&self, port: u16) -> BoxFuture<'_, bool> {
        // Redis answers LOADING while it reads its data.
        Box::pin(async move { self.command(port, &["PING"]).await.is_ok() })
    }

    fn wipe(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.command(port, &["FLUSHALL", "SYNC"]).await.map(drop) })
    }

    fn flush(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if self.persistent {
                // Everything acknowledged is in the append-only file already.
                return Ok(());
            }
            self.command(port, &["SAVE"]).await.map(drop)
        })
    }

    fn time(&self, port: u16) -> BoxFuture<'_, Result<SystemTime>> {
        Box::pin(async move {
            let reply = self.command(port, &["TIME"]).await?;
            let seconds = reply.list().first().and_then(Reply::text);
            let seconds = seconds.and_then(|seconds| seconds.parse().ok());
            let seconds = seconds.ok_or_else(|| Error::new(ErrorKind::Broker, "no time"))?;
            Ok(UNIX_EPOCH + Duration::from_secs(seconds))
        })
    }

    fn fill(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let mut admin = self.admin(port).await?;
            admin
                .call(&["CONFIG", "SET", "maxmemory-policy", "noeviction"])
                .await?;
            admin
                .call(&["CONFIG", "SET", "maxmemory", "1"])
                .await
                .map(drop)
        })
    }

    fn relieve(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.command(port, &["CONFIG", "SET", "maxmemory", "0"])
                .await
                .map(drop)
        })
    }

    fn revoke(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let mut admin = self.admin(port).await?;
            admin
                .call(&["CONFIG", "SET", "requirepass", "revoked"])
                .await?;
            for kind in ["normal", "pubsub"] {
                admin
                    .call(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"])
                    .await?;
            }
            Ok(())
        })
    }

    fn kick(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.command(port, &["CLIENT", "KILL", "TYPE", "pubsub"])
                .await
                .map(drop)
        })
    }

    fn password(&self) -> Option<String> {
        self.password.clone()
    }

    fn tls(&self, _: u16) -> Option<Tls> {
        let (certificates, port) = self.tls.as_ref()?;
        Some(Tls {
            plain: self.by(HOST, *port, None),
            other_authority: self.by(HOST, *port, Some(&certificates.other_authority())),
            other_name: self.by(OTHER_HOST, *port, Some(&certificates.authority())),
        })
    }

    fn restricted<'a>(
        &'a self,
        port: u16,
        logs: &'a [LogName],
    ) -> BoxFuture<'a, Result<Arc<dyn Target>>> {
        Box::pin(async move {
            let Some(names) = self.names else {
                return super::unsupported("restrict a user to some logs").await;
            };
            let names = logs.iter().flat_map(names);
            let rules: Vec<String> = names
                .flat_map(|name| [format!("~{name}"), format!("&{name}")])
                .collect();
            let rules = ["allcommands"]
                .into_iter()
                .chain(rules.iter().map(String::as_str));
            self.user(port, "restricted", &rules.collect::<Vec<_>>())
                .await
        })
    }

    fn read_only(&self, port: u16) -> BoxFuture<'_, Result<Arc<dyn Target>>> {
        Box::pin(async move {
            let rules = [
                "allkeys",
                "allchannels",
                "allcommands",
                "-@write",
                "-publish",
            ];
            self.user(port, "reader", &rules).await
        })
    }
}

fn executable() -> String {
    std::env::var("SCALEOUT_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}
