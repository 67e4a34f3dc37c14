//! [`HubBuilder`]: puts a hub together.

use std::{collections::HashMap, fmt, sync::Arc};

use super::{
    auth::{AuthError, Authenticate, Credentials, User},
    context::Context,
    error,
    hub::{Hub, Policy, Registered, Shared},
    lifecycle::Lifecycle,
    lifetime::{Lifetime, Lost, OnLost},
    method::{Endpoint, Method, StreamMethod, endpoint, stream_endpoint},
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
    policies: Vec<(String, Policy)>,
    authenticate: Option<Authenticate>,
    on_connected: Option<Arc<dyn Endpoint>>,
    on_disconnected: Option<Arc<dyn Endpoint>>,
    on_lost: Option<OnLost>,
}

impl<H: Send + Sync + 'static> HubBuilder<H> {
    pub(super) fn new(hub: H) -> Self {
        Self {
            hub: Arc::new(hub),
            name: error::short_name(std::any::type_name::<H>()).to_owned(),
            options: HubOptions::default(),
            methods: HashMap::new(),
            repeated: None,
            policies: Vec::new(),
            authenticate: None,
            on_connected: None,
            on_disconnected: None,
            on_lost: None,
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
        let endpoint = endpoint(self.hub.clone(), method);
        self.add(name.into(), endpoint);
        self
    }

    /// Adds a method that returns a stream: clients get its items one by one as they come, at their own
    /// pace, and can stop it.
    pub fn stream<A, F>(mut self, name: impl Into<String>, method: F) -> Self
    where
        A: 'static,
        F: for<'h> StreamMethod<'h, H, A> + Send + Sync + 'static,
    {
        let endpoint = stream_endpoint(self.hub.clone(), method);
        self.add(name.into(), endpoint);
        self
    }

    /// Lets only those callers invoke a method whom `allows` lets pass; the others are told that they
    /// are unauthorized. With several policies for one method, all of them have to.
    pub fn authorize(
        mut self,
        method: impl Into<String>,
        allows: impl Fn(&Context) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.policies.push((method.into(), Arc::new(allows)));
        self
    }

    /// Has `authenticate` tell who a client is, on every request that it makes: the negotiation, and
    /// whatever attaches or feeds a transport. A client that is turned away gets 401 or 403.
    ///
    /// Without this, a hub takes the [`User`] that the application's middleware has put into the
    /// request's extensions, or else holds its clients for anonymous.
    ///
    /// ```
    /// # use scaleout::hub::{AuthError, Credentials, Hub, User};
    /// # struct Chat;
    /// # fn subject_of(token: &str) -> Option<String> { Some(token.to_owned()) }
    /// let hub = Hub::builder(Chat).authenticate(async |credentials: Credentials| {
    ///     let token = credentials.token.ok_or(AuthError::Unauthenticated)?;
    ///     let subject = subject_of(&token).ok_or(AuthError::Unauthenticated)?;
    ///     Ok(User::new(subject))
    /// });
    /// ```
    pub fn authenticate<F, Fut>(mut self, authenticate: F) -> Self
    where
        F: Fn(Credentials) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::result::Result<User, AuthError>> + Send + 'static,
    {
        self.authenticate = Some(Arc::new(move |credentials| {
            Box::pin(authenticate(credentials))
        }));
        self
    }

    fn add(&mut self, name: String, endpoint: Arc<dyn Endpoint>) {
        if self.methods.insert(name.to_lowercase(), endpoint).is_some() {
            self.repeated = Some(name);
        }
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

    /// Runs `handler` when the broker says that messages are lost which clients of this node, while they
    /// are connected, should have got: its history was trimmed before this node could read it, or it was
    /// wiped. Without a handler this is only logged and counted.
    ///
    /// The handler runs in the place of what is lost, before anything newer is delivered, so it must not
    /// block. [`Lost::tell`] tells the clients, who can then reload or come back to a group by
    /// [`Context::resume`](super::Context::resume):
    ///
    /// ```
    /// # use scaleout::hub::{Hub, Lost};
    /// # struct Chat;
    /// let hub = Hub::builder(Chat).on_lost(|_: &Chat, lost: &Lost| {
    ///     if let Err(error) = lost.tell("Missed", (lost.group(),)) {
    ///         eprintln!("clients do not know that they have missed something: {error}");
    ///     }
    /// });
    /// ```
    pub fn on_lost(mut self, handler: impl Fn(&H, &Lost) + Send + Sync + 'static) -> Self {
        let hub = self.hub.clone();
        self.on_lost = Some(Arc::new(move |lost| handler(&hub, lost)));
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
        let register = |(name, endpoint)| {
            let policy = None;
            (name, Registered { endpoint, policy })
        };
        let mut methods: HashMap<_, _> = self.methods.into_iter().map(register).collect();
        for (name, policy) in self.policies {
            let method = methods.get_mut(&name.to_lowercase()).ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidInput,
                    format!("the hub has no method {name:?} to authorize"),
                )
            })?;
            method.policy = Some(match method.policy.take() {
                Some(earlier) => Arc::new(move |context| earlier(context) && policy(context)),
                None => policy,
            });
        }
        let lifetime = Lifetime::start(
            backplane,
            &self.name,
            self.options.clone(),
            true,
            self.on_lost,
        )
        .await?;
        let shared = Shared {
            name: self.name,
            options: self.options,
            methods,
            on_connected: self.on_connected,
            on_disconnected: self.on_disconnected,
            lifetime,
            lifecycle: Arc::new(Lifecycle::default()),
        };
        Ok(Hub::start(shared, self.authenticate))
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
