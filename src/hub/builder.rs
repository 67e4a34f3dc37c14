//! [`HubBuilder`]: puts a hub together.

use std::{collections::HashMap, fmt, sync::Arc};

use super::{
    context::Context,
    error,
    hub::{Hub, Parts},
    lifetime::Lifetime,
    method::{Endpoint, Method, endpoint},
    options::HubOptions,
};
use crate::{Backplane, Error, ErrorKind, Result};

/// Puts a hub together: [`Hub::builder`].
#[must_use = "a hub comes into being with `build`"]
pub struct HubBuilder<H> {
    hub: Arc<H>,
    name: String,
    options: HubOptions,
    methods: HashMap<String, Arc<dyn Endpoint>>,
    repeated: Option<String>,
    on_connected: Option<Arc<dyn Endpoint>>,
    on_disconnected: Option<Arc<dyn Endpoint>>,
}

impl<H: Send + Sync + 'static> HubBuilder<H> {
    pub(super) fn new(hub: H) -> Self {
        Self {
            hub: Arc::new(hub),
            name: error::short_name(std::any::type_name::<H>()).to_owned(),
            options: HubOptions::default(),
            methods: HashMap::new(),
            repeated: None,
            on_connected: None,
            on_disconnected: None,
        }
    }

    /// Names the hub on the backplane, where its topics are `<name>/all`, `<name>/group/...` and
    /// `<name>/node/...`: all nodes of one hub must agree on it, and hubs that share a backplane must
    /// not. 1 to 100 bytes without a slash. Default: the name of the type `H`, without its path.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets timers, limits and switches.
    pub fn options(mut self, options: HubOptions) -> Self {
        self.options = options;
        self
    }

    /// Adds a method that clients can invoke as `name`, in upper or lower case. Each name can be used
    /// once.
    pub fn method<A, F>(mut self, name: impl Into<String>, method: F) -> Self
    where
        A: 'static,
        F: for<'h> Method<'h, H, A> + Send + Sync + 'static,
    {
        let name = name.into();
        let endpoint = endpoint(self.hub.clone(), method);
        if self.methods.insert(name.to_lowercase(), endpoint).is_some() {
            self.repeated = Some(name);
        }
        self
    }

    /// Runs `method` whenever a client has connected, before its first invocation. An error refuses
    /// the client: its connection is closed, and it is told not to reconnect.
    pub fn on_connected<F>(mut self, method: F) -> Self
    where
        F: for<'h> Method<'h, H, (Context,)> + Send + Sync + 'static,
    {
        self.on_connected = Some(endpoint(self.hub.clone(), method));
        self
    }

    /// Runs `method` once when a connection is over, after its last invocation has ended and also if
    /// `on_connected` failed. [`Context::disconnect_reason`] tells why. Its error is logged.
    pub fn on_disconnected<F>(mut self, method: F) -> Self
    where
        F: for<'h> Method<'h, H, (Context,)> + Send + Sync + 'static,
    {
        self.on_disconnected = Some(endpoint(self.hub.clone(), method));
        self
    }

    /// Starts the hub on this node of the backplane. When this returns, whatever another node sends
    /// from now on arrives here.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the name or an option is not valid or a method's
    /// name is used twice; what [`Backplane::subscribe`] returns.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, nothing is left of the hub.
    pub async fn build(self, backplane: &Backplane) -> Result<Hub> {
        if let Some(name) = self.repeated {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "the hub has more than one method named {name:?}; upper and lower case are the same"
                ),
            ));
        }
        self.options.validate()?;
        let lifetime = Lifetime::start(backplane, &self.name).await?;
        Ok(Hub::start(Parts {
            name: self.name,
            options: self.options,
            methods: self.methods,
            on_connected: self.on_connected,
            on_disconnected: self.on_disconnected,
            lifetime,
        }))
    }
}

impl<H> fmt::Debug for HubBuilder<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubBuilder")
            .field("name", &self.name)
            .field("options", &self.options)
            .field("methods", &self.methods.keys())
            .finish_non_exhaustive()
    }
}
