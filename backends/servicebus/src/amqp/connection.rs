//! A connection with one session, and the claims that were made on it.

use std::sync::{Arc, Mutex as SyncMutex, PoisonError};

use fe2o3_amqp::{
    Connection as AmqpConnection, Session, connection::ConnectionHandle, sasl_profile::SaslProfile,
    session::SessionHandle,
};
use scaleout_core::Result;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, timeout, timeout_at},
};

use super::{
    claims::Claims,
    error::{of_begin, of_open},
    request::{Requests, link_name},
    stream::{Cut, Stream},
};
use crate::{
    config::Config,
    error::{lost, timed_out},
    names,
};

/// What we take in one frame: as the SDKs do.
const MAX_FRAME: u32 = 256 << 10;
const CBS: &str = "$cbs";

/// Dropping it ends the connection.
pub(super) struct Connection {
    config: Arc<Config>,
    cut: Arc<Cut>,
    handle: SyncMutex<Option<ConnectionHandle<()>>>,
    session: Mutex<SessionHandle<()>>,
    claims: Claims,
}

impl Connection {
    pub(super) async fn open(config: Arc<Config>) -> Result<Self> {
        let limit = config.request_timeout;
        match timeout(limit, Self::connect(config)).await {
            Ok(opened) => opened,
            Err(_) => Err(timed_out("a new connection", limit)),
        }
    }

    async fn connect(config: Arc<Config>) -> Result<Self> {
        let (stream, cut) = Stream::connect(&config).await?;
        // Ends what the client leaves running if this is given up half way.
        let mut fuse = Fuse(Some(cut.clone()));
        let liveness = u32::try_from(config.liveness.as_millis()).unwrap_or(u32::MAX);
        let mut handle = AmqpConnection::builder()
            .container_id(link_name("scaleout"))
            .hostname(config.host.as_str())
            .sasl_profile(SaslProfile::Anonymous)
            .max_frame_size(MAX_FRAME)
            // The client asks for half of it, and ends the connection if nothing comes for all of it.
            .idle_time_out(liveness)
            .open_with_stream(stream)
            .await
            .map_err(|error| of_open(&error))?;
        let mut session = Session::begin(&mut handle)
            .await
            .map_err(|error| of_begin(&error))?;
        let requests = Requests::attach(&mut session, CBS).await;
        let requests = requests.map_err(|refused| refused.into_error(CBS))?;
        fuse.0 = None;
        let connection = Self {
            config,
            cut,
            handle: SyncMutex::new(Some(handle)),
            session: Mutex::new(session),
            claims: Claims::new(requests),
        };
        connection.ping().await?;
        Ok(connection)
    }

    /// A round trip, which shows too whether the key is right.
    pub(super) async fn ping(&self) -> Result<()> {
        let topic = names::topic(&self.config.namespace, 0, self.config.logs.get());
        self.claims.ping(&self.config, &topic).await
    }

    /// Claims the right to use an entity, and goes on doing so.
    pub(super) async fn claim(&self, entity: &str) -> Result<()> {
        self.claims.claim(&self.config, entity).await
    }

    pub(super) fn forget(&self, entity: &str) {
        self.claims.forget(entity);
    }

    /// Renews claims for as long as it is polled.
    pub(super) async fn keep_claims(&self) {
        self.claims.keep(&self.config).await;
    }

    /// Where links are attached, one at a time.
    pub(super) async fn session(&self) -> Result<MutexGuard<'_, SessionHandle<()>>> {
        let session = self.session.lock().await;
        match session.is_ended() {
            true => Err(lost()),
            false => Ok(session),
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        // While somebody attaches a link, he will learn it.
        let ended = |session: &Mutex<SessionHandle<()>>| {
            session.try_lock().is_ok_and(|session| session.is_ended())
        };
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        !self.cut.is_done()
            && handle.as_ref().is_some_and(|handle| !handle.is_closed())
            && !ended(&self.session)
    }

    /// Ends it at once.
    pub(super) fn cut(&self) {
        self.cut.now();
    }

    /// Ends it in order, or at once at the deadline.
    pub(super) async fn close(&self, deadline: Instant) {
        let handle = {
            let mut handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
            handle.take()
        };
        if let Some(mut handle) = handle {
            // Whatever it says, it is closed.
            let _ = timeout_at(deadline, handle.close()).await;
        }
        self.cut();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.cut();
    }
}

struct Fuse(Option<Arc<Cut>>);

impl Drop for Fuse {
    fn drop(&mut self) {
        if let Some(cut) = &self.0 {
            cut.now();
        }
    }
}
