//! [`Postgres`]: how to run a PostgreSQL cluster.

use std::{
    fmt, fs, io,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::process::{Pid, Signal, geteuid};
use scaleout_core::{Error, ErrorKind, Result};

use super::{
    Tls,
    server::Program,
    tls::{Certificates, HOST, OTHER_HOST},
};
use crate::{BoxFuture, Target};

/// Makes a target out of a URL, which has a query if it speaks TLS.
type MakeTarget = Arc<dyn Fn(String) -> Arc<dyn Target> + Send + Sync>;

/// Where distributions put the programs, newest version last.
const PLACES: [&str; 2] = ["/usr/lib/postgresql", "/usr/pgsql"];
/// PostgreSQL does not run as root; where the suite does, this user runs it.
const USER: &str = "postgres";
/// The file that says who is let in, in the home of a server that speaks TLS.
const LETS_IN: &str = "pg_hba.conf";
/// How often, and for how long, the end of processes is awaited.
const LOOK: Duration = Duration::from_millis(5);
const LOOKS: usize = 2_000;

/// How to run a PostgreSQL cluster: the newest one installed, or the one whose programs are in the
/// directory that `SCALEOUT_POSTGRES_BIN` names.
#[derive(Clone)]
pub struct Postgres {
    make_target: MakeTarget,
    password: String,
    persistent: bool,
    config: Vec<(String, String)>,
    tls: Option<Arc<Certificates>>,
}

impl Postgres {
    /// A cluster with a user `app` who may make the schema. `make_target` makes the target for its
    /// URL.
    pub fn new(make_target: impl Fn(String) -> Arc<dyn Target> + Send + Sync + 'static) -> Self {
        Self {
            make_target: Arc::new(make_target),
            password: "secret".to_owned(),
            persistent: true,
            config: Vec::new(),
            tls: None,
        }
    }

    /// Whether there is a PostgreSQL to run.
    pub fn is_installed() -> bool {
        program("initdb").is_file()
    }

    /// Whether its data survive its process. Otherwise it is started on an empty directory each time.
    #[must_use]
    pub fn persistent(mut self, persistent: bool) -> Self {
        self.persistent = persistent;
        self
    }

    /// It asks for this password. Only characters that need no escape in a URL or in SQL.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.password = password.into();
        self
    }

    /// It lets the user `app` in by TLS only.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if there is no place for certificates.
    pub fn with_tls(mut self) -> Result<Self> {
        self.tls = Some(Arc::new(Certificates::make()?));
        Ok(self)
    }

    /// Sets one of the server's own options: `("max_connections", "20")`.
    #[must_use]
    pub fn with_config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.push((name.into(), value.into()));
        self
    }

    /// Runs SQL as the administrator.
    ///
    /// # Errors
    ///
    /// What the server answered.
    pub async fn sql(&self, port: u16, statements: &str) -> Result<String> {
        let mut command = Command::new(program("psql"));
        command
            .args(["-X", "-q", "-A", "-t", "-h", "127.0.0.1", "-U", USER])
            .args(["-p", &port.to_string(), "-v", "ON_ERROR_STOP=1"])
            .args(["-c", statements, "postgres"])
            .env("PGPASSWORD", &self.password)
            .env("PGCONNECT_TIMEOUT", "5");
        run("psql", command).await
    }

    /// The target for a host and how to speak TLS with it.
    fn by(&self, host: &str, port: u16, tls: &str) -> Arc<dyn Target> {
        let password = &self.password;
        let url = format!("postgres://app:{password}@{host}:{port}/postgres?{tls}");
        (self.make_target)(url)
    }

    fn url(&self, user: &str, password: &str, port: u16) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{port}/postgres")
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Program for Postgres {
    fn command(&self, home: &Path, port: u16) -> Command {
        // The processes of the one before hold on to its memory, and this one would refuse to start.
        for _ in 0..LOOKS {
            if self.processes(home).is_empty() {
                break;
            }
            sleep(LOOK);
        }
        let mut command = run_as_user(&program("postgres"));
        command.arg("-D").arg(home.join("data"));
        let mut set = |name: &str, value: &str| {
            command.args(["-c", &format!("{name}={value}")]);
        };
        set("port", &port.to_string());
        set("listen_addresses", "127.0.0.1");
        set("unix_socket_directories", "");
        if let Some(certificates) = &self.tls {
            set("ssl", "on");
            for (name, path) in [
                ("hba_file", home.join(LETS_IN)),
                ("ssl_cert_file", certificates.certificate()),
                ("ssl_key_file", certificates.key()),
            ] {
                set(name, &path.to_string_lossy());
            }
        }
        for (name, value) in &self.config {
            set(name, value);
        }
        command.current_dir(home);
        command
    }

    fn target(&self, port: u16) -> Arc<dyn Target> {
        match &self.tls {
            None => (self.make_target)(self.url("app", &self.password, port)),
            Some(certificates) => self.by(HOST, port, &verify_full(&certificates.authority())),
        }
    }

    fn tls(&self, port: u16) -> Option<Tls> {
        let certificates = self.tls.as_ref()?;
        let other_authority = verify_full(&certificates.other_authority());
        let authority = verify_full(&certificates.authority());
        Some(Tls {
            plain: self.by(HOST, port, "sslmode=disable"),
            other_authority: self.by(HOST, port, &other_authority),
            other_name: self.by(OTHER_HOST, port, &authority),
        })
    }

    fn ready(&self, port: u16) -> BoxFuture<'_, bool> {
        Box::pin(async move { self.sql(port, "SELECT 1").await.is_ok() })
    }

    fn prepare<'a>(&'a self, home: &'a Path) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let put = |error: io::Error| failed("no home for postgres", &error);
            let secret = home.join("password");
            fs::write(&secret, &self.password).map_err(put)?;
            give_away(home).map_err(put)?;
            give_away(&secret).map_err(put)?;
            if let Some(certificates) = &self.tls {
                let rules = "hostssl all app 127.0.0.1/32 scram-sha-256\n\
                             host all postgres 127.0.0.1/32 scram-sha-256\n";
                let lets_in = home.join(LETS_IN);
                fs::write(&lets_in, rules).map_err(put)?;
                let key = certificates.key();
                fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).map_err(put)?;
                for path in [&lets_in, &certificates.certificate(), &key] {
                    give_away(path).map_err(put)?;
                }
            }
            let mut initdb = run_as_user(&program("initdb"));
            initdb
                .arg("-D")
                .arg(home.join("data"))
                .args(["-U", USER, "-A", "scram-sha-256", "--no-sync", "-E", "UTF8"])
                .args(["--locale=C", "--pwfile"])
                .arg(&secret)
                .current_dir(home);
            run("initdb", initdb).await?;
            // A user without rights but on the database: what the backend must do with.
            let mut single = run_as_user(&program("postgres"));
            single.args(["--single", "-j", "-D"]).arg(home.join("data"));
            let statements = format!(
                "CREATE ROLE app LOGIN PASSWORD '{}';\n\nGRANT ALL ON DATABASE postgres TO app;\n\n",
                self.password
            );
            let script = home.join("setup.sql");
            fs::write(&script, statements).map_err(put)?;
            single.arg("postgres").current_dir(home);
            single.stdin(fs::File::open(&script).map_err(put)?);
            run("postgres", single).await.map(drop)
        })
    }

    fn term(&self) -> Signal {
        // It waits for its clients to leave on SIGTERM, which nodes never do.
        Signal::INT
    }

    fn forgets(&self) -> bool {
        !self.persistent
    }

    fn processes(&self, home: &Path) -> Vec<Pid> {
        // All of them work in the directory of the data.
        let data = home.join("data");
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        let pids = entries.flatten().filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let cwd = fs::read_link(entry.path().join("cwd")).ok()?;
            (cwd == data).then(|| Pid::from_raw(pid)).flatten()
        });
        pids.collect()
    }

    fn wipe(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let tables = "scaleout.log, scaleout.frame, scaleout.publisher, scaleout.trimmed";
            self.sql(port, &format!("TRUNCATE {tables}"))
                .await
                .map(drop)
        })
    }

    fn time(&self, port: u16) -> BoxFuture<'_, Result<SystemTime>> {
        Box::pin(async move {
            let statement = "SELECT floor(extract(epoch FROM now()))::bigint";
            let seconds = self.sql(port, statement).await?.parse();
            let seconds = seconds.map_err(|error| failed("no time", &error))?;
            Ok(UNIX_EPOCH + Duration::from_secs(seconds))
        })
    }

    fn flush(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.sql(port, "CHECKPOINT").await.map(drop) })
    }

    fn revoke(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.sql(port, "ALTER ROLE app PASSWORD 'revoked'").await?;
            self.kick(port).await
        })
    }

    fn kick(&self, port: u16) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
            self.sql(port, statement).await.map(drop)
        })
    }

    fn password(&self) -> Option<String> {
        Some(self.password.clone())
    }

    fn read_only(&self, port: u16) -> BoxFuture<'_, Result<Arc<dyn Target>>> {
        Box::pin(async move {
            let statement = "CREATE ROLE reader LOGIN PASSWORD 'secret';
                GRANT USAGE ON SCHEMA scaleout TO reader;
                REVOKE EXECUTE ON FUNCTION scaleout.append FROM PUBLIC";
            self.sql(port, statement).await?;
            Ok((self.make_target)(self.url("reader", "secret", port)))
        })
    }
}

/// Checks the authority, which the file names, and the server's name.
fn verify_full(authority: &Path) -> String {
    format!("sslmode=verify-full&sslrootcert={}", authority.display())
}

/// Where a program is.
fn program(name: &str) -> PathBuf {
    if let Ok(directory) = std::env::var("SCALEOUT_POSTGRES_BIN") {
        return Path::new(&directory).join(name);
    }
    let installed = PLACES.iter().filter_map(|place| fs::read_dir(place).ok());
    let newest = installed
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let path = entry.path().join("bin").join(name);
            path.is_file().then_some((version, path))
        })
        .max();
    newest.map_or_else(|| PathBuf::from(name), |(_, path)| path)
}

fn run_as_user(program: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new(program);
    if let Ok(user) = user() {
        // Also without the groups of root.
        command.uid(user.uid()).gid(user.gid());
    }
    command
}

/// What belongs to [`USER`]: the package made him, and this directory for him.
fn user() -> io::Result<fs::Metadata> {
    fs::metadata("/var/lib/postgresql")
}

/// Gives a file to the user who runs the server, and lets him come to it.
fn give_away(path: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let user = user()?;
    chown(path, Some(user.uid()), Some(user.gid()))?;
    match path.parent() {
        Some(parent) => fs::set_permissions(parent, fs::Permissions::from_mode(0o711)),
        None => Ok(()),
    }
}

/// Runs it to its end. Returns what it wrote.
async fn run(program: &str, mut command: Command) -> Result<String> {
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output
        .map_err(io::Error::other)
        .and_then(|output| output)
        .map_err(|error| failed(program, &error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(failed(program, &text.trim()))
}

fn failed(what: &str, error: &dyn fmt::Display) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{what}: {error}"))
}
