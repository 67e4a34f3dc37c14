//! Just enough of the Redis protocol (RESP2) to administer a server without a client library: what the
//! suite does to a broker must not go through the code that it tests.

use std::{fmt, time::Duration};

use scaleout_core::{Error, ErrorKind, Result};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream},
    net::TcpStream,
    time::timeout,
};

use crate::Limits;

const ANSWER: Duration = Duration::from_secs(10);

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A status or a string.
    Text(String),
    /// A number.
    Number(i64),
    /// An error, as the server words it.
    Error(String),
    /// Nothing.
    Nil,
    /// Several replies.
    List(Vec<Reply>),
}

impl Reply {
    /// Its text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Its number, if it is one.
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The replies in it, none if it is no list.
    pub fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }
}

/// A connection to a Redis server.
pub struct Connection {
    stream: BufStream<TcpStream>,
}

impl Connection {
    /// Connects to `host:port`, and identifies itself if there is a password.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] or [`ErrorKind::Timeout`] if the server does not answer,
    /// [`ErrorKind::Broker`] if it refuses the password.
    pub async fn open(
        addr: impl tokio::net::ToSocketAddrs,
        password: Option<&str>,
    ) -> Result<Self> {
        let stream = TcpStream::connect(addr).await.map_err(lost)?;
        let mut connection = Self {
            stream: BufStream::new(stream),
        };
        if let Some(password) = password {
            connection.call(&["AUTH", password]).await?;
        }
        Ok(connection)
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Broker`] if the reply is an error; [`ErrorKind::Unavailable`] or
    /// [`ErrorKind::Timeout`] if none comes.
    pub async fn call(&mut self, command: &[&str]) -> Result<Reply> {
        let answer = Limits::from_env().scaled(ANSWER);
        let reply = timeout(answer, self.exchange(command)).await;
        match reply.map_err(|_| Error::new(ErrorKind::Timeout, "no reply from the server"))?? {
            Reply::Error(error) => Err(Error::new(ErrorKind::Broker, error)),
            reply => Ok(reply),
        }
    }

    async fn exchange(&mut self, command: &[&str]) -> Result<Reply> {
        let mut request = format!("*{}\r\n", command.len());
        for part in command {
            request.push_str(&format!("${}\r\n{part}\r\n", part.len()));
        }
        self.stream
            .write_all(request.as_bytes())
            .await
            .map_err(lost)?;
        self.stream.flush().await.map_err(lost)?;
        Box::pin(self.reply()).await
    }

    async fn reply(&mut self) -> Result<Reply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await.map_err(lost)? == 0 {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the server closed the connection",
            ));
        }
        let line = line.trim_end();
        let (kind, rest) = line.split_at_checked(1).unwrap_or((line, ""));
        let number = || rest.parse::<i64>().map_err(|_| nonsense());
        match kind {
            "+" => Ok(Reply::Text(rest.to_owned())),
            "-" => Ok(Reply::Error(rest.to_owned())),
            ":" => Ok(Reply::Number(number()?)),
            "$" => match usize::try_from(number()?) {
                Ok(length) => {
                    let mut text = vec![0; length + 2];
                    self.stream.read_exact(&mut text).await.map_err(lost)?;
                    text.truncate(length);
                    Ok(Reply::Text(String::from_utf8_lossy(&text).into_owned()))
                }
                Err(_) => Ok(Reply::Nil),
            },
            "*" => match usize::try_from(number()?) {
                Ok(length) => {
                    let mut list = Vec::new();
                    for _ in 0..length {
                        list.push(Box::pin(self.reply()).await?);
                    }
                    Ok(Reply::List(list))
                }
                Err(_) => Ok(Reply::Nil),
            },
            _ => Err(nonsense()),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

fn lost(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "no connection to the server").with_source(error)
}

fn nonsense() -> Error {
    Error::new(ErrorKind::Broker, "the server's reply makes no sense")
}
