//! [`RabbitMq`]: how to run a RabbitMQ node.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use scaleout_core::{Error, ErrorKind, Result};

use super::{
    Tls,
    server::{Program, free_port},
    tls::{Certificates, HOST, OTHER_HOST},
};
use crate::{BoxFuture, Target};

/// Makes a target out of a URL, which has a query if it speaks TLS.
type MakeTarget = Arc<dyn Fn(String) -> Arc<dyn Target> + Send + Sync>;

/// Where Debian and RabbitMQ's own packages have the scripts. What they put into the path instead
/// changes the user, and with it the home.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";
/// A file in a node's home that says that its streams are coordinated.
const COORDINATES: &str = "coordinates";
const USER: &str = "scaleout";
/// Who may only read.
const READER: &str = "reader";
/// How long a node may take to say what it is.
const GREETING: Duration = Duration::from_secs(2);

/// How to run a RabbitMQ node: the scripts in `/usr/lib/rabbitmq/bin`, or in the directory that
/// `SCALEOUT_RABBITMQ_BIN` names.
#[derive(Clone)]
pub struct RabbitMq {
    make_target: MakeTarget,
    password: String,
    persistent: bool,
    tls: Option<(Arc<Certificates>, u16)>,
    cookie: Option<String>,
    /// Where the running node has its cookie, which whoever controls it needs.
    home: Arc<Mutex<PathBuf>>,
}

impl RabbitMq {
    /// A node with one user, who has this password: only characters that need no escape in a URL.
    /// `make_target` makes the target for its URL.
    pub fn new(
        password: impl Into<String>,
        make_target: impl Fn(String) -> Arc<dyn Target> + Send + Sync + 'static,
    ) -> Self {
        Self {
            make_target: Arc::new(make_target),
            password: password.into(),
            persistent: false,
            tls: None,
            cookie: None,
            home: Arc::default(),
        }
    }

    /// It finds its data again after the end of its process.
    #[must_use]
    pub fn persistent(mut self, persistent: bool) -> Self {
        self.persistent = persistent;
        self
    }

    /// Its clients reach it by TLS.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if there is no port, or no place for certificates.
    pub fn with_tls(mut self) -> Result<Self> {
        self.tls = Some((Arc::new(Certificates::make()?), free_port()?));
        Ok(self)
    }

    /// It can join others with this cookie.
    #[must_use]
    pub fn with_cookie(mut self, cookie: impl Into<String>) -> Self {
        self.cookie = Some(cookie.into());
        self
    }

    /// What other nodes call the one that listens on this port.
    pub fn node_name(port: u16) -> String {
        format!("scaleout-{port}@localhost")
    }

    /// Whether there is a RabbitMQ to run.
    pub fn is_installed() -> bool {
        script("rabbitmq-server").exists()
    }

    /// Has a running node evaluate an Erlang expression. Returns what it prints.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Broker`] with what the command wrote if it failed.
    pub async fn eval(&self, port: u16, expression: &str) -> Result<String> {
        self.control(port, &["eval", expression]).await
    }

    /// Runs `rabbitmqctl` against a running node. Returns what it prints.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Broker`] with what the command wrote if it failed.
    pub async fn control(&self, port: u16, arguments: &[&str]) -> Result<String> {
        let mut command = command("rabbitmqctl", &self.home(), port);
        command.arg("--quiet").args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        let failed = |what: &dyn fmt::Display| {
            Error::new(ErrorKind::Broker, format!("rabbitmqctl failed: {what}"))
        };
        let output = output
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))?;
        if !output.status.success() {
            return Err(failed(&String::from_utf8_lossy(&output.stderr)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl RabbitMq {
    /// Has the node make its first stream, once. Only then does it start what coordinates all of them,
    /// and a node that is killed within the second after that (3.10) does not find its streams again.
    async fn coordinate(&self, port: u16) -> Result<()> {
        let done = self.home().join(COORDINATES);
        // One that has streams cannot join others.
        if done.exists() || self.cookie.is_some() {
            return Ok(());
        }
        let first = "Q = rabbit_misc:r(<<\"/\">>, queue, <<\"first\">>), \
                     Arguments = [{<<\"x-queue-type\">>, longstr, <<\"stream\">>}], \
                     {new, S} = rabbit_amqqueue:declare(Q, true, false, Arguments, none, <<\"x\">>), \
                     {ok, _} = rabbit_amqqueue:delete(S, false, false, <<\"x\">>), \
                     [ok = dets:sync(Table) || Table <- dets:all()], ok.";
        self.eval(port, first).await?;
        fs::write(done, "").map_err(|error| {
            Error::new(ErrorKind::Unavailable, "no note in its home").with_source(error)
        })
    }

    /// Nobody else may read it, or Erlang does not take it.
    fn write_cookie(&self, home: &Path) -> io::Result<()> {
        let Some(cookie) = &self.cookie else {
            return Ok(());
        };
        let mut file = File::options()
            .create_new(true)
            .write(true)
            .mode(0o400)
            .open(home.join(".erlang.cookie"))?;
        file.write_all(cookie.as_bytes())
    }

    /// The target for an address, and a file of authorities to trust.
    fn by(&self, host: &str, port: u16, authority: Option<&Path>) -> Arc<dyn Target> {
        let password = &self.password;
        (self.make_target)(match authority {
            None => format!("amqp://{USER}:{password}@{host}:{port}/"),
            Some(path) => {
                let path = path.display();
                format!("amqps://{USER}:{password}@{host}:{port}/?ca_cert={path}")
            }
        })
    }

    fn home(&self) -> PathBuf {
        self.home
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl fmt::Debug for RabbitMq {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitMq").finish_non_exhaustive()
    }
}

impl Program for RabbitMq {
    fn command(&self, home: &Path, port: u16) -> Command {
        *self.home.lock().unwrap_or_else(PoisonError::into_inner) = home.to_owned();
        if !self.persistent {
            // What cannot be removed is found again, and noticed by whoever counts on its end.
            let _ = fs::remove_dir_all(home.join("data"));
            let _ = fs::remove_file(home.join(COORDINATES));
        }
        let mut command = command("rabbitmq-server", home, port);
        // So that the script becomes the node instead of waiting for it: the process that is
        // signalled is the node.
        command.env("RUNNING_UNDER_SYSTEMD", "true");
        // For other nodes, of which there are none. Without it, 20,000 above the port: that may be
        // taken by an outgoing connection.
        if let Ok(port) = free_port() {
            command.env("RABBITMQ_DIST_PORT", port.to_string());
        }
        command.current_dir(home);
        command
    }

    fn target(&self, port: u16) -> Arc<dyn Target> {
        match &self.tls {
            None => self.by("127.0.0.1", port, None),
            Some((certificates, port)) => self.by(HOST, *port, Some(&certificates.authority())),
        }
    }

    fn tls(&self, _: u16) -> Option<Tls> {
        let (certificates, port) = self.tls.as_ref()?;
        Some(Tls {
            plain: self.by(HOST, *port, None),
            other_authority: self.by(HOST, *port, Some(&certificates.other_authority())),
            other_name: self.by(OTHER_HOST, *port, Some(&certificates.authority())),
        })
    }

    fn read_only(&self, port: u16) -> BoxFuture<'_, Result<Arc<dyn Target>>> {
        Box::pin(async move {
            let password = &self.password;
            let configure_write_read = ["^$", "^$", ".*"];
            self.control(port, &["add_user", READER, password]).await?;
            let permit = ["set_permissions", READER];
            let permit: Vec<_> = permit.into_iter().chain(configure_write_read).collect();
            self.control(port, &permit).await?;
            let url = format!("amqp://{READER}:{password}@127.0.0.1:{port}/");
            Ok((self.make_target)(url))
        })
    }

    fn ready(&self, port: u16) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let greets = tokio::task::spawn_blocking(move || greets(port));
            greets.await.unwrap_or(false) && self.coordinate(port).await.is_ok()
        })
    }

    fn prepare<'a>(&'a self, home: &'a Path) -> BoxFuture<'a, Result<()>> {
        let mut config = format!(
            "default_user = {USER}\ndefault_pass = {}\nlog.console = true\nlog.file = false\n",
            self.password
        );
        if let Some((certificates, port)) = &self.tls {
            let files = [
                ("cacertfile", certificates.authority()),
                ("certfile", certificates.certificate()),
                ("keyfile", certificates.key()),
            ];
            config +=
                &format!("listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.verify = verify_none\n");
            for (name, path) in files {
                config += &format!("ssl_options.{name} = {}\n", path.display());
            }
        }
        let written = fs::write(home.join("rabbitmq.conf"), config)
            .and_then(|()| fs::write(home.join("enabled_plugins"), "[].\n"))
            .and_then(|()| self.write_cookie(home));
        let failed =
            |error| Error::new(ErrorKind::Unavailable, "no configuration").with_source(error);
        Box::pin(std::future::ready(written.map_err(failed)))
    }

    fn wipe(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let delete = "[rabbit_amqqueue:delete(Q, false, false, <<\"wipe\">>) \
                          || Q <- rabbit_amqqueue:list()].";
            self.eval(port, delete).await.map(drop)
        })
    }

    fn time(&self, port: u16) -> BoxFuture<'_, Result<SystemTime>> {
        Box::pin(async move {
            let seconds = self.eval(port, "os:system_time(second).").await?;
            let seconds = seconds.trim().parse();
            let seconds =
                seconds.map_err(|_| Error::new(ErrorKind::Broker, "a node tells no time"))?;
            Ok(UNIX_EPOCH + Duration::from_secs(seconds))
        })
    }

    fn fill(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let arguments = ["set_vm_memory_high_watermark", "0.000001"];
            self.control(port, &arguments).await.map(drop)
        })
    }

    fn relieve(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let arguments = ["set_vm_memory_high_watermark", "0.6"];
            self.control(port, &arguments).await.map(drop)
        })
    }

    fn revoke(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let arguments = ["change_password", USER, "revoked"];
            self.control(port, &arguments).await?;
            self.kick(port).await
        })
    }

    fn kick(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let arguments = ["close_all_connections", "out"];
            self.control(port, &arguments).await.map(drop)
        })
    }

    fn password(&self) -> Option<String> {
        Some(self.password.clone())
    }
}

/// One of RabbitMQ's scripts, for the node of this home and port. It shares the machine's epmd, as all
/// nodes do, and starts one if there is none.
fn command(name: &str, home: &Path, port: u16) -> Command {
    let mut command = Command::new(script(name));
    command
        .env("HOME", home)
        .env("RABBITMQ_NODENAME", RabbitMq::node_name(port))
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODE_PORT", port.to_string())
        .env("RABBITMQ_MNESIA_BASE", home.join("data"))
        .env("RABBITMQ_LOG_BASE", home.join("log"))
        .env("RABBITMQ_CONFIG_FILE", home.join("rabbitmq.conf"))
        .env("RABBITMQ_CONF_ENV_FILE", home.join("none"))
        .env(
            "RABBITMQ_ENABLED_PLUGINS_FILE",
            home.join("enabled_plugins"),
        );
    command
}

fn script(name: &str) -> PathBuf {
    let directory = std::env::var("SCALEOUT_RABBITMQ_BIN");
    Path::new(directory.as_deref().unwrap_or(SCRIPTS)).join(name)
}

/// Whether somebody on this port answers as AMQP 0.9.1 wants it.
fn greets(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let greet = || {
        let mut stream = TcpStream::connect_timeout(&address, GREETING)?;
        stream.set_read_timeout(Some(GREETING))?;
        stream.write_all(b"AMQP\0\0\x09\x01")?;
        let mut frame = [0; 1];
        stream.read_exact(&mut frame)?;
        // A method frame: connection.start. Anything else would be the header of another version.
        io::Result::Ok(frame[0] == 1)
    };
    greet().unwrap_or(false)
}
