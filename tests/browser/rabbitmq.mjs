// A RabbitMQ of a test's own.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freeAddress } from "./server.mjs";

// The script itself: what Debian puts into the path changes the user.
const program = `${process.env.SCALEOUT_RABBITMQ_BIN ?? "/usr/lib/rabbitmq/bin"}/rabbitmq-server`;
const port = async () => (await freeAddress()).split(":")[1];

/** Whether somebody on this port greets as AMQP 0.9.1 does. */
async function greets(number) {
  const socket = connect(number, "127.0.0.1");
  socket.on("error", () => socket.destroy());
  socket.write("AMQP\0\0\x09\x01");
  const greeting = new Promise((resolve) => {
    socket.once("data", (data) => resolve(data[0] === 1));
    socket.once("close", () => resolve(false));
  });
  const answer = await Promise.race([greeting, sleep(2_000, false)]);
  socket.destroy();
  return answer;
}

/** Starts a broker, and resolves once it takes connections. The test ends it. */
export async function rabbitmq(t) {
  const home = await mkdtemp(join(tmpdir(), "scaleout-rabbitmq-"));
  await writeFile(join(home, "enabled_plugins"), "[].\n");
  const number = await port();
  const env = {
    ...process.env,
    HOME: home,
    // So that the script becomes the broker instead of waiting for it.
    RUNNING_UNDER_SYSTEMD: "true",
    RABBITMQ_NODENAME: `scaleout-${number}@localhost`,
    RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
    RABBITMQ_NODE_PORT: number,
    RABBITMQ_DIST_PORT: await port(),
    RABBITMQ_LOGS: "-",
    RABBITMQ_MNESIA_BASE: join(home, "data"),
    RABBITMQ_LOG_BASE: home,
    RABBITMQ_CONFIG_FILE: join(home, "none"),
    RABBITMQ_CONF_ENV_FILE: join(home, "none"),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(home, "enabled_plugins"),
  };
  let child;
  const start = async () => {
    child = spawn(program, [], { env, stdio: "ignore" });
    while (!(await greets(Number(number)))) {
      if (child.exitCode !== null) throw new Error(`${program} ended while it started`);
      await sleep(100);
    }
  };
  t.after(async () => {
    child.kill("SIGKILL");
    await rm(home, { recursive: true, force: true });
  });
  await start();
  return {
    url: `amqp://127.0.0.1:${number}/`,
    start,
    /** Ends it in order. */
    async stop() {
      const exited = once(child, "exit");
      child.kill("SIGTERM");
      await exited;
    },
  };
}
