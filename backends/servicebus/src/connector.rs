//! From a URL to a backend.

use std::sync::Arc;

use scaleout_core::{AnyBackend, Connector, Options, Result};

use crate::{
    amqp::Amqp,
    backend::ServiceBus,
    config::{self, Config, TransportKind},
    http::Http,
    https::Https,
    sas::{Credential, TokenCredential},
};

/// Reads the URL or connection string of a namespace: the backend, which connects when it is first
/// used, and the node's options.
///
/// ```
/// let url = "servicebus://live:c2VjcmV0@my-namespace?namespace=chat";
/// let connector = scaleout_servicebus::connector(url)?;
/// assert_eq!(connector.options.namespace.as_str(), "chat");
/// assert!(!format!("{connector:?}").contains("c2VjcmV0"));
/// # Ok::<(), scaleout_core::Error>(())
/// ```
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`](scaleout_core::ErrorKind::InvalidInput) if it is not of that shape, or if an option is unknown or has a value
/// that is not allowed.
pub fn connector(url: &str) -> Result<Connector> {
    let (config, options) = config::read(url)?;
    connect(config, options)
}

/// As [`connector`], with tokens that the application gets instead of a key in the URL.
///
/// # Errors
///
/// As [`connector`].
pub fn connector_with_credential(url: &str, credential: impl TokenCredential) -> Result<Connector> {
    let (config, options) = config::read_for(url, Credential::given(credential))?;
    connect(config, options)
}

fn connect(config: Config, options: Options) -> Result<Connector> {
    let http = Http::occasional(&config)?;
    let config = Arc::new(config);
    let backend = match config.transport {
        TransportKind::Amqp => {
            AnyBackend::new(ServiceBus::new(config.clone(), http, Amqp::new(config)))
        }
        TransportKind::Https => {
            let https = Https::new(&config, Http::new(&config)?);
            AnyBackend::new(ServiceBus::new(config, http, https))
        }
    };
    Ok(Connector { backend, options })
}
