//! URL scheme -> backend: the only code that knows them all.

use scaleout_core::{Backplane, Connector, Error, ErrorKind, Result};

/// Also that of a connection string, which has none.
const SERVICEBUS: &str = "servicebus";

/// Connects a node to the broker that `url` names, such as `memory:` or
/// `redis://user:password@host:6379/?namespace=chat`.
///
/// The query holds the node's [`Options`](crate::Options), each under its field's name, and the
/// backend's own.
///
/// # Errors
///
/// - [`ErrorKind::InvalidInput`] if the URL, an option in it, or its scheme is not known.
/// - [`ErrorKind::Unsupported`] if the scheme's feature is not enabled.
/// - [`ErrorKind::Auth`] and [`ErrorKind::Incompatible`] if the broker refuses.
/// - [`ErrorKind::Unavailable`] and [`ErrorKind::Timeout`] if it cannot be reached. To start all the
///   same and connect when it appears, use [`connect_lazy`].
///
/// No error shows the password in the URL.
///
/// # Cancellation
///
/// Dropping the future closes whatever was opened.
pub async fn connect(url: &str) -> Result<Backplane> {
    Backplane::connect(connector(url)?).await
}

/// Makes a node without waiting for its broker: it connects in the background, and tries for ever.
///
/// Must be called within a Tokio runtime.
///
/// # Errors
///
/// Only for the URL: [`ErrorKind::InvalidInput`] and [`ErrorKind::Unsupported`], as [`connect`].
pub fn connect_lazy(url: &str) -> Result<Backplane> {
    Backplane::connect_lazy(connector(url)?)
}

/// The backend and the options that `url` stands for, to be changed or wrapped before
/// [`Backplane::connect`].
///
/// ```
/// # #[cfg(feature = "memory")] {
/// let connector = scaleout::connector("memory:?namespace=chat&publish_timeout=3s")?;
/// assert_eq!(connector.options.namespace.as_str(), "chat");
/// # }
/// # Ok::<(), scaleout::Error>(())
/// ```
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] and [`ErrorKind::Unsupported`], as [`connect`].
pub fn connector(url: &str) -> Result<Connector> {
    let scheme = scheme(url)?;
    match scheme {
        #[cfg(feature = "memory")]
        "memory" => scaleout_memory::connector(url),
        #[cfg(not(feature = "memory"))]
        "memory" => Err(not_enabled("memory")),

        #[cfg(feature = "redis")]
        "redis" | "rediss" => scaleout_redis::connector(url),
        #[cfg(not(feature = "redis"))]
        "redis" | "rediss" => Err(not_enabled("redis")),

        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => scaleout_postgres::connector(url),
        #[cfg(not(feature = "postgres"))]
        "postgres" | "postgresql" => Err(not_enabled("postgres")),

        #[cfg(feature = "rabbitmq")]
        "amqp" | "amqps" => scaleout_rabbitmq::connector(url),
        #[cfg(not(feature = "rabbitmq"))]
        "amqp" | "amqps" => Err(not_enabled("rabbitmq")),

        #[cfg(feature = "servicebus")]
        SERVICEBUS => scaleout_servicebus::connector(url),
        #[cfg(not(feature = "servicebus"))]
        SERVICEBUS => Err(not_enabled("servicebus")),

        _ => Err(Error::new(
            ErrorKind::InvalidInput,
            format!("unknown scheme `{scheme}`; {}", enabled()),
        )),
    }
}

/// What stands before the colon, if it looks like a scheme. Nothing else of a URL may get into an
/// error, and a URL that was mistyped may have its password anywhere.
fn scheme(url: &str) -> Result<&str> {
    if is_connection_string(url) {
        return Ok(SERVICEBUS);
    }
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(allowed) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "the backplane's URL does not begin with a scheme; {}",
                enabled()
            ),
        ));
    }
    Ok(scheme)
}

/// Whether it is what Azure shows for a namespace: `Endpoint=sb://...;SharedAccessKeyName=...`, in any
/// order.
fn is_connection_string(url: &str) -> bool {
    let (string, _) = url.split_once('?').unwrap_or((url, ""));
    string.split(';').any(|part| {
        let name = part.split_once('=').map_or("", |(name, _)| name);
        name.trim().eq_ignore_ascii_case("endpoint")
    })
}

#[cfg(not(all(
    feature = "memory",
    feature = "redis",
    feature = "postgres",
    feature = "rabbitmq",
    feature = "servicebus"
)))]
fn not_enabled(feature: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("feature `{feature}` is not enabled"),
    )
}

fn enabled() -> String {
    let schemes: &[&str] = &[
        #[cfg(feature = "memory")]
        "memory:",
        #[cfg(feature = "redis")]
        "redis://",
        #[cfg(feature = "redis")]
        "rediss://",
        #[cfg(feature = "postgres")]
        "postgres://",
        #[cfg(feature = "rabbitmq")]
        "amqp://",
        #[cfg(feature = "rabbitmq")]
        "amqps://",
        #[cfg(feature = "servicebus")]
        "servicebus://",
        #[cfg(feature = "servicebus")]
        "Endpoint=sb://",
    ];
    if schemes.is_empty() {
        return "no backend is enabled".to_owned();
    }
    format!("enabled are {}", schemes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> (ErrorKind, String) {
        let error = connector(url).unwrap_err();
        (error.kind(), error.to_string())
    }

    #[test]
    fn an_unknown_scheme_lists_those_that_are_enabled() {
        let (kind, message) = refused("kafka://user:hunter2@localhost/");
        assert_eq!(kind, ErrorKind::InvalidInput);
        assert_eq!(message, format!("unknown scheme `kafka`; {}", enabled()));
    }

    #[test]
    fn a_url_without_a_scheme_is_not_repeated() {
        for url in [
            "",
            "localhost",
            ":hunter2@localhost",
            "hunter2@localhost:6379",
        ] {
            let (kind, message) = refused(url);
            assert_eq!(kind, ErrorKind::InvalidInput);
            assert!(
                message.contains("does not begin with a scheme"),
                "{message}"
            );
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn a_connection_string_of_azure_is_a_url() {
        for url in [
            "Endpoint=sb://chat.servicebus.windows.net/;SharedAccessKeyName=a;SharedAccessKey=hunter2=",
            "SharedAccessKeyName=a;SharedAccessKey=hunter2=;endpoint=sb://chat?namespace=b",
        ] {
            assert_eq!(scheme(url).unwrap(), SERVICEBUS);
            #[cfg(feature = "servicebus")]
            connector(url).unwrap();
            #[cfg(not(feature = "servicebus"))]
            assert_eq!(refused(url).1, "feature `servicebus` is not enabled");
        }
        let (_, message) = refused("SharedAccessKey=hunter2");
        assert!(!message.contains("hunter2"), "{message}");
    }

    #[test]
    #[cfg(not(feature = "redis"))]
    fn a_scheme_whose_feature_is_off_names_the_feature() {
        let expected = "feature `redis` is not enabled".to_owned();
        assert_eq!(
            refused("redis://localhost/"),
            (ErrorKind::Unsupported, expected.clone())
        );
        assert_eq!(
            refused("rediss://localhost/"),
            (ErrorKind::Unsupported, expected)
        );
    }

    #[test]
    #[cfg(not(feature = "memory"))]
    fn the_default_feature_can_be_off_too() {
        let expected = "feature `memory` is not enabled".to_owned();
        assert_eq!(refused("memory:"), (ErrorKind::Unsupported, expected));
    }
}
