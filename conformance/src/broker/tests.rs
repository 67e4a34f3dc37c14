//! With a broker that does nothing: a shell that notes in its home that it was started, and sleeps.

use std::{fs, path::Path, process::Command, time::Duration};

use rustix::process::{Pid, test_kill_process};
use tokio::time::timeout;

use super::*;
use crate::UrlTarget;

#[derive(Debug)]
struct Sleeper;

impl Program for Sleeper {
    fn command(&self, home: &Path, port: u16) -> Command {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            &format!("echo $$ >> starts; echo port {port}; exec sleep 1000"),
        ]);
        command.current_dir(home);
        command
    }

    fn target(&self, port: u16) -> Arc<dyn Target> {
        let connector = |_: &str| Err(Error::new(ErrorKind::Unsupported, "nothing to connect to"));
        Arc::new(UrlTarget::new(
            format!("sleep://127.0.0.1:{port}"),
            connector,
        ))
    }

    fn ready(&self, _: u16) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(true))
    }
}

/// The processes that were ever started on the data that the server has now. The shell writes its
/// line some time after it was started.
async fn starts(server: &Server<Sleeper>, count: usize) -> Vec<Pid> {
    let read = async {
        loop {
            let text = fs::read_to_string(server.home().join("starts")).unwrap_or_default();
            let starts: Vec<_> = text
                .lines()
                .map(|line| Pid::from_raw(line.parse().unwrap()).unwrap())
                .collect();
            if starts.len() == count {
                return starts;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(10), read).await.unwrap()
}

fn is_alive(pid: Pid) -> bool {
    test_kill_process(pid).is_ok()
}

/// The letter that the kernel gives the process's state: `S` sleeping, `T` stopped.
fn state(pid: Pid) -> String {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
    stat.rsplit(") ").next().unwrap()[..1].to_owned()
}

#[tokio::test]
async fn a_server_restarts_on_its_data_at_its_port() {
    let server = Server::start(Sleeper).await.unwrap();
    let url = server.target().url();
    let first = starts(&server, 1).await[0];
    server.kill().await.unwrap();
    assert!(!is_alive(first));
    server.start().await.unwrap();
    let second = starts(&server, 2).await[1];
    server.term().await.unwrap();
    assert!(!is_alive(second));
    server.start().await.unwrap();
    starts(&server, 3).await;
    assert_eq!(server.target().url(), url);
}

#[tokio::test]
async fn a_wiped_server_restarts_without_data() {
    let server = Server::start(Sleeper).await.unwrap();
    starts(&server, 1).await;
    server.kill().await.unwrap();
    server.wipe().await.unwrap();
    server.start().await.unwrap();
    starts(&server, 1).await;
}

#[tokio::test]
async fn a_copy_of_the_data_can_be_put_back() {
    let server = Server::start(Sleeper).await.unwrap();
    let first = starts(&server, 1).await;
    server.snapshot().await.unwrap();
    server.kill().await.unwrap();
    server.start().await.unwrap();
    starts(&server, 2).await;
    assert!(server.restore().await.is_err(), "it is running");
    server.kill().await.unwrap();
    server.restore().await.unwrap();
    assert_eq!(starts(&server, 1).await, first);
}

#[tokio::test]
async fn a_stopped_server_stays_alive_and_still_dies() {
    let server = Server::start(Sleeper).await.unwrap();
    let pid = starts(&server, 1).await[0];
    server.stop().await.unwrap();
    let stopped = async {
        while state(pid) != "T" {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), stopped).await.unwrap();
    server.cont().await.unwrap();
    server.stop().await.unwrap();
    drop(server);
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn a_panic_leaves_neither_process_nor_data() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let case = tokio::spawn(async {
        let server = Server::start(Sleeper).await.unwrap();
        let pid = starts(&server, 1).await[0];
        tell.send((pid, server.home())).unwrap();
        let _server = server;
        panic!("as a failing case does");
    });
    let (pid, home) = told.await.unwrap();
    assert!(case.await.unwrap_err().is_panic());
    assert!(!is_alive(pid));
    assert!(!home.exists());
}

#[tokio::test]
async fn a_broker_that_ends_at_once_says_why() {
    #[derive(Debug)]
    struct Broken;

    impl Program for Broken {
        fn command(&self, _: &Path, _: u16) -> Command {
            let mut command = Command::new("sh");
            command.args(["-c", "echo no such option; exit 1"]);
            command
        }

        fn target(&self, port: u16) -> Arc<dyn Target> {
            Sleeper.target(port)
        }

        fn ready(&self, _: u16) -> BoxFuture<'_, bool> {
            Box::pin(std::future::ready(false))
        }
    }

    let error = Server::start(Broken).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("no such option"), "{error}");
}
