//! Dials PostgreSQL: TCP, TLS, credentials, and whether it is a server and a schema that will do.

use scaleout_core::{Error, ErrorKind, Result};
use tokio_postgres::{Client, Connection, Socket, types::ToSql};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{config::Config, error::of_connecting, install::ensure_schema};

type Stream = <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::Stream;

/// The oldest server that will do: it has `gen_random_uuid`, and looks for equal notifications of a
/// transaction in less than quadratic time.
const OLDEST: u32 = 13;

/// A session, and the future that moves its bytes.
pub(crate) struct Dialled {
    pub(crate) client: Client,
    pub(crate) driver: Connection<Socket, Stream>,
}

/// Opens a connection and gives the credentials.
pub(crate) async fn dial(config: &Config) -> Result<Dialled> {
    let (client, driver) = config
        .client
        .connect(config.tls.clone())
        .await
        .map_err(|error| {
            of_connecting(&error).context(format_args!("cannot connect to {config}"))
        })?;
    let version = driver.parameter("server_version").unwrap_or_default();
    let major = version.split(|c: char| !c.is_ascii_digit()).next();
    match major.and_then(|major| major.parse::<u32>().ok()) {
        Some(major) if major >= OLDEST => Ok(Dialled { client, driver }),
        _ => Err(Error::new(
            ErrorKind::Incompatible,
            format!("{config} is PostgreSQL {version:?}: {OLDEST} or later is required"),
        )),
    }
}

/// Makes a session one that works as the backend needs it, whatever was set for its role or
/// database. The driver must be running.
///
/// # Errors
///
/// [`ErrorKind::Incompatible`] if the schema is not of this library's version,
/// [`ErrorKind::Unavailable`] if the server is a standby.
pub(crate) async fn set_up(config: &Config, client: &Client) -> Result<()> {
    let failed = |error| of_connecting(&error);
    // Waiting for another node that installs the schema is no reason to give up.
    let settings = "
        SET client_min_messages = warning;
        SET default_transaction_isolation = 'read committed';
        SET idle_in_transaction_session_timeout = 0;
        SET lock_timeout = 0;
        SET row_security = on;
        SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') = 'off';";
    let state = "SELECT pg_is_in_recovery(), current_setting('fsync')";
    // Both at once: nodes that return after an outage return all together.
    let (set, state) = tokio::join!(client.batch_execute(settings), client.query_one(state, &[]));
    set.map_err(failed)?;
    let state = state.map_err(failed)?;
    if state.try_get(0).map_err(failed)? {
        return Err(Error::new(
            ErrorKind::Unavailable,
            format!("{config} is a standby: it cannot be written to"),
        ));
    }
    if state.try_get::<_, &str>(1).map_err(failed)? == "off" {
        tracing::warn!(server = %config, "fsync is off: what is acknowledged may be lost with the machine");
    }
    ensure_schema(client).await?;
    let after: [&(dyn ToSql + Sync); 1] = [&config.continue_after];
    let settle = client.query_one("SELECT scaleout.settle($1)", &after);
    // From now on, an append that waited for longer is tried once more, on a connection of its own.
    let impatient = client.batch_execute("SET lock_timeout = '100ms'");
    let (settled, impatient) = tokio::join!(settle, impatient);
    impatient.map_err(failed)?;
    if settled.and_then(|row| row.try_get(0)).map_err(failed)? {
        tracing::warn!(server = %config, "not the server that it was: every log begins anew");
    }
    Ok(())
}
