// The presence example in a real browser: everybody sees how many are here, on whatever node.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { randomUUID } from "node:crypto";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { launch } from "./page.mjs";
import { freeAddress, target } from "./server.mjs";

const program = process.env.SCALEOUT_PRESENCE ?? `${target}/debug/examples/hub_presence`;
const redis = process.env.SCALEOUT_REDIS_URL ?? "redis://127.0.0.1/";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/** One node, in a process of its own. */
async function node(t, backplane) {
  const [, port] = (await freeAddress()).split(":");
  const child = spawn(program, [backplane, port], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  t.after(() => child.kill("SIGKILL"));
  const [line] = await once(createInterface({ input: child.stdout }), "line");
  return {
    url: line.replace(/^open /, ""),
    async kill() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

/** Somebody who looks at a node's page. */
async function visit(t, { url }) {
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  await page.goto(url);
  return {
    sees: (count) => page.locator("#count").getByText(String(count), { exact: true }).waitFor(),
    said: () => page.locator("body").innerText(),
    leave: () => context.close(),
  };
}

test("the count is right when pages come and go, and when a node dies", async (t) => {
  const backplane = `${redis}?namespace=presence-${randomUUID()}`;
  const first = await node(t, backplane);
  const second = await node(t, backplane);

  const ada = await visit(t, first);
  await ada.sees(1);
  const ben = await visit(t, second);
  const eve = await visit(t, second);
  for (const page of [ada, ben, eve]) await page.sees(3);

  await eve.leave();
  for (const page of [ada, ben]) await page.sees(2);

  // Nobody says goodbye for those who were on this one.
  await second.kill();
  await ada.sees(1);

  const third = await node(t, backplane);
  const dan = await visit(t, third);
  for (const page of [ada, dan]) await page.sees(2);
  assert.doesNotMatch(await ada.said(), /[4-9] are here/);
});
