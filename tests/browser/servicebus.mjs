// A Service Bus of a test's own: the emulator, which fails on demand.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { target } from "./server.mjs";

const program = process.env.SCALEOUT_EMULATOR_BIN ?? `${target}/debug/scaleout-servicebus-emulator`;

/** Starts an emulator, and resolves once it takes connections. The test ends it. */
export async function servicebus(t) {
  const child = spawn(program, ["--listen", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  const lines = [];
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    if (lines.length === 2) break;
  }
  if (lines.length < 2) throw new Error(`${program} ended early`);
  const address = lines[0].replace(/^listening on /, "");
  return {
    /** The connection string, as it would be copied from the portal. */
    url: lines[1],
    async strike(fault) {
      const url = `http://${address}/$emulator/faults/${fault}`;
      const response = await fetch(url, { method: "POST" });
      if (!response.ok) throw new Error(`${url}: ${response.status}`);
    },
  };
}
