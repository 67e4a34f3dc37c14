//! The emulator under clients that nobody here wrote: the Python and JavaScript SDKs, Qpid Proton, and a plain HTTP
//! client. `scripts/setup` installs them; what they do is in `tests/clients`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use scaleout_servicebus_emulator::{Config, Emulator};

/// A slow wire: every piece of input comes that much later.
const SLOW: Duration = Duration::from_millis(2);

/// One test of a suite for each delay.
macro_rules! suites {
    ($($name:ident: $run:expr;)*) => {$(
        mod $name {
            #[test]
            fn at_once() {
                super::run(std::time::Duration::ZERO, $run);
            }

            #[test]
            fn over_a_slow_wire() {
                super::run(super::SLOW, $run);
            }
        }
    )*};
}

// The Python SDK takes its time to open links, so its cases are spread over several tests.
suites! {
    javascript_sdk: super::javascript;
    proton: || super::python("test_proton");
    python_sdk_faults: || super::python("test_sdk.Faults");
    python_sdk_managing: || super::python("test_sdk.Managing");
    python_sdk_sending: || super::python("test_sdk.Sending");
    python_sdk_settling: || super::python("test_sdk.Settling");
    python_sdk_topics: || super::python("test_sdk.Topics");
    rest: || super::python("test_rest");
}

fn run(delay: Duration, client: impl Fn() -> Command) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let emulator = runtime
        .block_on(Emulator::start(Config::default()))
        .unwrap();
    emulator.faults().set_delay(delay);
    let output = client()
        .env("SERVICEBUS_ADDRESS", emulator.address().to_string())
        .env("SERVICEBUS_CONNECTION_STRING", emulator.connection_string())
        .output()
        .expect("the client can be started; scripts/setup installs it");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    runtime.block_on(emulator.stop());
}

fn python(suite: &str) -> Command {
    let python = installed(".venv/bin/python");
    let mut command = Command::new(python);
    command
        .args(["-m", "unittest", "--verbose", suite])
        .current_dir(clients().join("python"));
    command
}

fn javascript() -> Command {
    installed("javascript/node_modules/@azure/service-bus");
    let mut command = Command::new("npm");
    command
        .args(["test", "--silent"])
        .current_dir(clients().join("javascript"));
    command
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

fn installed(what: &str) -> PathBuf {
    let path = clients().join(what);
    assert!(path.exists(), "{what} is missing: run scripts/setup");
    path
}
