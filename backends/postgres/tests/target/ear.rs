//! [`Ear`]: hears who listens. PostgreSQL tells a session's channels to that session alone, so what
//! nodes tell the server passes through here.

use std::{
    collections::HashSet,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// The longest message that can be a command to listen: 1,000 channels.
const LONGEST: usize = 128 << 10;

/// Stands between nodes and a server, and changes nothing. It ends with the process.
pub(crate) struct Ear {
    addr: SocketAddr,
    sessions: Sessions,
}

/// The channels of every session that is open.
type Sessions = Arc<Mutex<Vec<Arc<Mutex<HashSet<String>>>>>>;

impl Ear {
    /// Listens in front of the server at `HOST:PORT`.
    pub(crate) fn before(server: String) -> io::Result<Self> {
        let socket = TcpListener::bind("127.0.0.1:0")?;
        let ear = Self {
            addr: socket.local_addr()?,
            sessions: Arc::default(),
        };
        let sessions = ear.sessions.clone();
        thread::spawn(move || {
            for client in socket.incoming().flatten() {
                let (server, sessions) = (server.clone(), sessions.clone());
                thread::spawn(move || session(&client, &server, &sessions));
            }
        });
        Ok(ear)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many sessions listen on a channel.
    pub(crate) fn count(&self, channel: &str) -> usize {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let listens = |channels: &&Arc<Mutex<HashSet<String>>>| {
            let channels = channels.lock().unwrap_or_else(PoisonError::into_inner);
            channels.contains(channel)
        };
        sessions.iter().filter(listens).count()
    }
}

fn session(client: &TcpStream, server: &str, sessions: &Sessions) {
    let Ok(server) = TcpStream::connect(server) else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let channels = Arc::new(Mutex::new(HashSet::new()));
    let mut open = sessions.lock().unwrap_or_else(PoisonError::into_inner);
    open.push(channels.clone());
    drop(open);
    let (Ok(mut answers), Ok(mut back)) = (server.try_clone(), client.try_clone()) else {
        return;
    };
    let answering = thread::spawn(move || {
        let _ = io::copy(&mut answers, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let _ = pass_on(client, &server, &channels);
    let _ = server.shutdown(Shutdown::Both);
    let _ = answering.join();
    let mut open = sessions.lock().unwrap_or_else(PoisonError::into_inner);
    open.retain(|session| !Arc::ptr_eq(session, &channels));
}

/// Passes messages on as they come, and looks into simple queries.
fn pass_on(
    mut client: &TcpStream,
    mut server: &TcpStream,
    channels: &Mutex<HashSet<String>>,
) -> io::Result<()> {
    // The first message has a length and no type.
    let mut head = vec![0; 4];
    loop {
        client.read_exact(&mut head)?;
        let length = head
            .last_chunk::<4>()
            .map_or(4, |length| u32::from_be_bytes(*length));
        let mut rest = usize::try_from(length)
            .unwrap_or_default()
            .saturating_sub(4);
        server.write_all(&head)?;
        if head[0] == b'Q' && head.len() == 5 && rest <= LONGEST {
            let mut text = vec![0; rest];
            client.read_exact(&mut text)?;
            server.write_all(&text)?;
            note(&String::from_utf8_lossy(&text), channels);
        } else {
            let mut buffer = [0; 8_192];
            while rest > 0 {
                let most = rest.min(buffer.len());
                let read = client.read(&mut buffer[..most])?;
                if read == 0 {
                    return Ok(());
                }
                server.write_all(&buffer[..read])?;
                rest -= read;
            }
        }
        head.resize(5, 0);
    }
}

fn note(commands: &str, channels: &Mutex<HashSet<String>>) {
    let mut channels = channels.lock().unwrap_or_else(PoisonError::into_inner);
    for command in commands.split(';') {
        if let Some(channel) = command.strip_prefix("LISTEN ") {
            channels.insert(channel.to_owned());
        } else if let Some(channel) = command.strip_prefix("UNLISTEN ") {
            channels.remove(channel);
        }
    }
}
