//! Dials Redis: TCP, TLS, credentials, and whether it is a Redis that will do.

use futures_util::{FutureExt, future::BoxFuture};
use redis::{
    AsyncConnectionConfig, ProtocolVersion, PushInfo, RedisConnectionInfo,
    aio::{AsyncStream, MultiplexedConnection},
};
use scaleout_core::{Error, ErrorKind, Result};
use tokio::net::TcpStream;

use crate::{
    config::Config,
    error::{nonsense, of_client, of_server},
};

/// What the server pushes is handed to this, by the task that reads from the connection.
pub(crate) type Push = Box<dyn Fn(PushInfo) -> Result<(), ()> + Send + Sync>;

/// A session, and the future that moves its bytes.
pub(crate) struct Dialled {
    pub(crate) connection: MultiplexedConnection,
    pub(crate) driver: BoxFuture<'static, ()>,
}

/// Opens a connection and gives the credentials.
pub(crate) async fn dial(config: &Config, push: Option<Push>) -> Result<Dialled> {
    let stream = TcpStream::connect((config.host.as_str(), config.port))
        .await
        .map_err(|error| {
            Error::new(
                ErrorKind::Unavailable,
                format!("cannot connect to {config}: {error}"),
            )
        })?;
    // A frame must not wait for the acknowledgement of the one before. Only a socket that is dead
    // already refuses the option, and the next use of it says so.
    let _ = stream.set_nodelay(true);
    match &config.tls {
        None => log_in(config, stream, push).await,
        Some(tls) => log_in(config, tls.handshake(stream).await?, push).await,
    }
    .map_err(|error| error.context(format_args!("cannot log in to {config}")))
}

async fn log_in<S>(config: &Config, stream: S, push: Option<Push>) -> Result<Dialled>
where
    S: AsyncStream + Unpin + Send + 'static,
{
    let mut info = RedisConnectionInfo::default()
        .set_db(config.db)
        .set_protocol(ProtocolVersion::RESP3)
        .set_lib_name("scaleout", env!("CARGO_PKG_VERSION"));
    if let Some(user) = &config.user {
        info = info.set_username(user);
    }
    if let Some(password) = &config.password {
        info = info.set_password(password.expose());
    }
    // Those who ask watch the time themselves.
    let mut settings = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    if let Some(push) = push {
        settings = settings.set_push_sender(push);
    }
    let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, settings)
        .await
        .map_err(|error| of_client(&error, config.password.as_ref()))?;
    Ok(Dialled {
        connection,
        driver: driver.boxed(),
    })
}

/// Which run of which server this is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run([u8; 8]);

impl Run {
    #[cfg(test)]
    pub(crate) fn new(id: [u8; 8]) -> Self {
        Self(id)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

/// Asks the server what it is.
///
/// # Errors
///
/// [`ErrorKind::Incompatible`] if it is older than 6.2 or a cluster.
pub(crate) async fn inspect(
    config: &Config,
    connection: &mut MultiplexedConnection,
) -> Result<Run> {
    let secret = config.password.as_ref();
    let info = match connection
        .send_packed_command(redis::cmd("INFO").arg("server"))
        .await
    {
        Ok(redis::Value::ServerError(error)) => return Err(of_server(&error, secret)),
        Ok(info) => redis::from_redis_value::<String>(info).map_err(|_| nonsense("INFO"))?,
        Err(error) => return Err(of_client(&error, secret)),
    };
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    let version = field("redis_version").ok_or_else(|| nonsense("INFO"))?;
    let mut numbers = version.split('.').map(|number| number.parse::<u32>());
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return Err(nonsense("INFO"));
    };
    if (major, minor) < (6, 2) {
        return Err(incompatible(format!(
            "{config} is Redis {version}: 6.2 or later is required"
        )));
    }
    if field("redis_mode") == Some("cluster") {
        return Err(incompatible(format!(
            "{config} is a Redis Cluster: a single server, or one behind Sentinel or a managed \
             failover, is required"
        )));
    }
    if config.durable {
        return Ok(Run(*b"durable!"));
    }
    let run = field("run_id").and_then(|id| id.as_bytes().first_chunk());
    run.map(|id| Run(*id)).ok_or_else(|| nonsense("INFO"))
}

fn incompatible(message: String) -> Error {
    Error::new(ErrorKind::Incompatible, message)
}
