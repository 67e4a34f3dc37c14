// Two browsers on two nodes: what is typed in one appears in the other.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { Chat, launch } from "./page.mjs";
import { postgres } from "./postgres.mjs";
import { rabbitmq } from "./rabbitmq.mjs";
import { freeAddress, serve } from "./server.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

const TWO_NODES = ["127.0.0.1:0", "127.0.0.1:0"];
const BROKERS = {
  Redis: process.env.SCALEOUT_REDIS_URL ?? "redis://127.0.0.1/",
  PostgreSQL: process.env.SCALEOUT_POSTGRES_URL ?? "postgres://postgres@127.0.0.1/postgres",
  RabbitMQ: process.env.SCALEOUT_RABBITMQ_URL ?? "amqp://127.0.0.1/",
};
const fresh = (url) => `${url}?namespace=browser-${randomUUID()}`;
const redis = () => fresh(BROKERS.Redis);

async function talk(t, urls, name) {
  const ada = await Chat.open(t, browser, urls[0], "Ada");
  const ben = await Chat.open(t, browser, urls[1], "Ben");
  assert.notEqual(await ada.node(), await ben.node(), "the pages are on different nodes");

  await ada.say("Good morning from the first node");
  assert.equal(await ben.hears("Good morning from the first node"), "Ada");
  await ben.say("And back from the second");
  assert.equal(await ada.hears("And back from the second"), "Ben");
  assert.deepEqual(await ada.heard(), await ben.heard(), "both saw the same, in the same order");

  await ada.screenshot(`${name}-ada`);
  await ben.screenshot(`${name}-ben`);
  assert.deepEqual([...ada.errors, ...ben.errors], []);
}

test("two browsers talk across two nodes of one process, over memory", async (t) => {
  const server = await serve(t, { listen: TWO_NODES });
  await talk(t, server.urls, "memory");
  await server.stop();
});

for (const [broker, url] of Object.entries(BROKERS)) {
  test(`two browsers talk across two processes, over ${broker}`, async (t) => {
    const backplane = fresh(url);
    const first = await serve(t, { backplane });
    const second = await serve(t, { backplane });
    await talk(t, [...first.urls, ...second.urls], broker.toLowerCase());
    await first.stop();
    await second.stop();
  });
}

for (const [name, own] of Object.entries({ PostgreSQL: postgres, RabbitMQ: rabbitmq })) {
  test(`two browsers talk across two processes, over ${name} that restarts between them`, async (t) => {
    const broker = await own(t);
    const first = await serve(t, { backplane: broker.url });
    const second = await serve(t, { backplane: broker.url });
    const ada = await Chat.open(t, browser, first.urls[0], "Ada");
    const ben = await Chat.open(t, browser, second.urls[0], "Ben");
    await ada.say("one");
    await ben.hears("one");
    await ben.say("two");
    await ada.hears("two");

    await broker.stop();
    await broker.start();

    await ada.say("three");
    await ben.hears("three");
    await ben.say("four");
    await ada.hears("four");
    assert.deepEqual(await ada.heard(), ["one", "two", "three", "four"]);
    assert.deepEqual(await ben.heard(), await ada.heard());
    await ben.screenshot(`${name.toLowerCase()}-restarted`);
    await first.stop();
    await second.stop();
  });
}

test("a room's messages reach its members on every node, and nobody else", async (t) => {
  const server = await serve(t, { listen: TWO_NODES });
  const ada = await Chat.open(t, browser, server.urls[0], "Ada");
  const ben = await Chat.open(t, browser, server.urls[1], "Ben");
  const eve = await Chat.open(t, browser, server.urls[1], "Eve");

  await ada.join("garden");
  await ben.join("garden");
  await ben.say("only for the garden");
  assert.equal(await ada.hears("only for the garden"), "Ben");
  await ada.screenshot("room");

  // Whoever leaves hears no more of it. The fence afterwards shows that nothing is still on its way.
  await ben.leave("garden");
  await ada.say("after Ben has left");
  await ada.hears("after Ben has left");
  await ada.open("Everyone");
  await ada.say("fence");
  await ben.hears("fence");
  await eve.hears("fence");
  assert.deepEqual(await eve.heard(), ["fence"]);
  assert.deepEqual(await ben.heard(), ["fence"]);
  await server.stop();
});

for (const [broker, url] of Object.entries(BROKERS)) {
  test(`a page whose server is killed goes on at another one, and its transcript is complete, over ${broker}`, (t) =>
    killed(t, fresh(url), broker.toLowerCase()));
}

async function killed(t, backplane, name) {
  const listen = [await freeAddress(), await freeAddress()];
  const urls = listen.map((address) => `http://${address}`);
  const first = await serve(t, { backplane, listen: [listen[0]], peers: [urls[1]] });
  const second = await serve(t, { backplane, listen: [listen[1]], peers: [urls[0]] });
  const ada = await Chat.open(t, browser, urls[0], "Ada");
  const ben = await Chat.open(t, browser, urls[1], "Ben");
  await ben.say("one");
  await ada.hears("one");

  await first.kill();
  // Some of them while nobody serves Ada's page, some while it comes back, some afterwards.
  const meanwhile = Array.from({ length: 20 }, (_, n) => `meanwhile ${n + 1}.`);
  for (const text of meanwhile) {
    await ben.say(text);
    await ben.hears(text);
  }
  await ada.hears(meanwhile.at(-1));
  await ada.say("five");
  await ben.hears("five");
  assert.deepEqual(await ada.heard(), ["one", ...meanwhile, "five"]);
  assert.deepEqual(await ben.heard(), await ada.heard());
  assert.equal(await ada.node(), await ben.node());
  await ada.screenshot(`resumed-${name}`);
  await second.stop();
}

test("a page whose server restarts reconnects by itself, and is in its rooms again", async (t) => {
  const backplane = redis();
  const first = await serve(t, { backplane });
  const second = await serve(t, { backplane });
  const ada = await Chat.open(t, browser, first.urls[0], "Ada");
  const ben = await Chat.open(t, browser, second.urls[0], "Ben");
  await ada.join("garden");
  await ben.join("garden");

  await first.kill();
  await ada.state("disconnected");
  await ada.screenshot("disconnected");
  const again = await serve(t, { backplane, listen: [new URL(first.urls[0]).host] });
  await ada.state("connected");
  // The page has joined again once it says so for the second time.
  await ada.page.getByText("You are in garden").nth(1).waitFor();

  await ben.say("welcome back");
  assert.equal(await ada.hears("welcome back"), "Ben");
  await again.stop();
  await second.stop();
});

test("what strangers type is shown as text", async (t) => {
  const server = await serve(t);
  const ada = await Chat.open(t, browser, server.urls[0], "<b>Ada</b>");
  const markup = "<img src=x onerror=\"document.title='broken in'\"> & <script>alert(1)</script>";
  await ada.say(markup);
  assert.equal(await ada.hears("onerror"), "<b>Ada</b>");
  assert.deepEqual(await ada.heard(), [markup]);
  assert.equal(await ada.page.title(), "Chat");
  assert.equal(await ada.page.locator("#log img").count(), 0);
  await server.stop();
});

test("the page is readable on a phone and in the dark", async (t) => {
  const server = await serve(t);
  const ada = await Chat.open(t, browser, server.urls[0], "Ada", {
    viewport: { width: 390, height: 720 },
    colorScheme: "dark",
  });
  await ada.say("A message that is long enough to need more than one line on a screen as narrow as this.");
  await ada.hears("A message");
  await ada.join("garden");
  await ada.say("Hello, garden");
  await ada.hears("Hello, garden");
  await ada.screenshot("phone-dark");
  const widths = await ada.page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(widths[0] <= widths[1], "nothing sticks out to the side");
  await server.stop();
});
