// Starts and stops the program under test.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
export const target = process.env.CARGO_TARGET_DIR ?? `${root}target`;
const program = process.env.SCALEOUT_BIN ?? `${target}/debug/scaleout`;

/** An address that nobody listens on. */
export async function freeAddress() {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return `127.0.0.1:${port}`;
}

/**
 * Runs `scaleout serve` with one node per address, and resolves once all of them listen.
 * Port 0 asks for any free one. The test fails if the server does not end cleanly.
 */
export async function serve(t, { listen = ["127.0.0.1:0"], backplane = "memory:", peers = [] } = {}) {
  const args = ["serve", "--backplane", backplane, ...listen.flatMap((each) => ["--listen", each]),
    ...peers.flatMap((each) => ["--peer", each])];
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  // A server that a failed test left behind must not outlive it.
  t.after(() => child.kill("SIGKILL"));

  const urls = [];
  for await (const line of createInterface({ input: child.stdout })) {
    urls.push(line.replace(/^listening on /, ""));
    if (urls.length === listen.length) break;
  }
  if (urls.length < listen.length) throw new Error(`${program} ${args.join(" ")} ended early`);

  return {
    urls,
    /** Ends it as Ctrl-C does. */
    async stop() {
      child.kill("SIGINT");
      const [code, signal] = await exited;
      if (code !== 0) throw new Error(`the server ended with ${code ?? signal}`);
    },
    /** Ends it as a crash does. */
    async kill() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}
