// A PostgreSQL of a test's own.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { freeAddress } from "./server.mjs";

const run = promisify(execFile);
const installed = "/usr/lib/postgresql";

/** The directory of the newest server's programs, as Debian lays them out. */
async function programs() {
  if (process.env.SCALEOUT_POSTGRES_BIN) return process.env.SCALEOUT_POSTGRES_BIN;
  const versions = (await readdir(installed)).map(Number).filter(Number.isFinite);
  return `${installed}/${Math.max(...versions)}/bin`;
}

// The server does not run as root.
const user = process.getuid() === 0 ? ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] : ["env"];
const as = (...command) => [...user, ...command];

/** Whether a server on this port answers as PostgreSQL does when it is asked for TLS, and has none. */
async function answers(port) {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => socket.destroy());
  socket.write(Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]));
  const answer = new Promise((resolve) => {
    socket.once("data", (data) => resolve(data.toString() === "N"));
    socket.once("close", () => resolve(false));
  });
  const answered = await Promise.race([answer, sleep(2_000, false)]);
  socket.destroy();
  return answered;
}

/** Starts a server, and resolves once it takes connections. The test ends it. */
export async function postgres(t) {
  const bin = await programs();
  const home = await mkdtemp(join(tmpdir(), "scaleout-postgres-"));
  if (process.getuid() === 0) await run("chown", ["postgres:", home]);
  const data = join(home, "data");
  const [program, ...args] = as(`${bin}/initdb`, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
    "--locale=C", "--no-sync");
  await run(program, args, { cwd: home });
  const port = (await freeAddress()).split(":")[1];
  let child;
  const start = async () => {
    const [program, ...args] = as(`${bin}/postgres`, "-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1",
      "-c", "unix_socket_directories=");
    child = spawn(program, args, { cwd: home, stdio: "ignore" });
    while (!(await answers(Number(port)))) {
      if (child.exitCode !== null) throw new Error(`${bin}/postgres ended while it started`);
      await sleep(100);
    }
  };
  /** Ends it in order, without waiting for its clients to leave. */
  const stop = async () => {
    const exited = once(child, "exit");
    child.kill("SIGINT");
    await exited;
  };
  t.after(async () => {
    if (child.exitCode === null) await stop();
    await rm(home, { recursive: true, force: true });
  });
  await start();
  return { url: `postgres://postgres@127.0.0.1:${port}/postgres`, start, stop };
}
