//! Installs the schema where there is none, and refuses one that is newer than this library.

use scaleout_core::{Error, ErrorKind, Result};
use tokio_postgres::{Client, error::SqlState};

use crate::error::{lacks_schema, of_connecting};

/// The schema that this library works with.
const VERSION: i32 = 1;
const SCHEMA: &str = include_str!("../sql/v1.sql");
/// Many nodes may start at once: one installs, the others wait for it.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1935897699, 1)";

/// Makes sure that the schema is there and fits.
///
/// # Errors
///
/// [`ErrorKind::Incompatible`] if it is of another version, [`ErrorKind::Auth`] if it is missing and
/// must not be made.
pub(crate) async fn ensure_schema(client: &Client) -> Result<()> {
    let version = match version(client).await {
        Err(error) if lacks_schema(&error) => {
            install(client).await?;
            version(client).await
        }
        answer => answer,
    };
    let version = version.map_err(|error| of_connecting(&error))?;
    if version != VERSION {
        let what = if version > VERSION { "newer" } else { "older" };
        return Err(Error::new(
            ErrorKind::Incompatible,
            format!(
                "the schema scaleout has version {version}, which is {what} than version {VERSION} \
                 that this library works with"
            ),
        ));
    }
    Ok(())
}

async fn version(client: &Client) -> Result<i32, tokio_postgres::Error> {
    let row = client.query_one("SELECT scaleout.version()", &[]).await?;
    row.try_get(0)
}

async fn install(client: &Client) -> Result<()> {
    let statements = format!("BEGIN; {LOCK};");
    let outcome = async {
        client.batch_execute(&statements).await?;
        // Whoever was first has done it.
        let there = "SELECT FROM pg_namespace WHERE nspname = 'scaleout'";
        if client.query_opt(there, &[]).await?.is_none() {
            client.batch_execute(SCHEMA).await?;
        }
        client.batch_execute("COMMIT").await
    };
    outcome.await.map_err(|error| {
        let refused = error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE);
        let error = of_connecting(&error);
        if refused {
            return error.context(
                "the schema scaleout is not installed, and this user may not do it: run sql/v1.sql \
                 of scaleout-postgres as one who may",
            );
        }
        error.context("cannot install the schema scaleout")
    })
}
