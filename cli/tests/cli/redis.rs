//! A Redis of the test's own.

use std::{
    env, fs,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio, id},
    thread,
    time::{Duration, Instant},
};

use crate::running::PATIENCE;

/// A Redis of the test's own, with the password `hunter2`.
pub(crate) struct Redis {
    child: Child,
    port: u16,
    dir: PathBuf,
}

impl Redis {
    pub(crate) fn start() -> Self {
        let port = free_port();
        let dir = env::temp_dir().join(format!("scaleout-cli-{}-{port}", id()));
        fs::create_dir_all(&dir).unwrap();
        let child = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .args(["--requirepass", "hunter2", "--dir"])
            .arg(&dir)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed; scripts/setup does that");
        let redis = Self { child, port, dir };
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "redis-server does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        redis
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://:hunter2@127.0.0.1:{}/", self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
