//! HTTP.

use std::{io, sync::Arc};

use tokio::net::TcpStream;

use crate::broker::Broker;

pub(crate) async fn serve(_broker: Arc<Broker>, _stream: TcpStream) -> io::Result<()> {
    Ok(())
}
