// The official client in a real browser, on a page of another origin than the test host's.
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { startHost } from "../clients/host.mjs";
import { launch } from "./page.mjs";

const SCRIPTS = {
  "/signalr.js": "@microsoft/signalr/dist/browser/signalr.js",
  "/msgpack.js": "@microsoft/signalr-protocol-msgpack/dist/browser/signalr-protocol-msgpack.js",
};
const WAYS = [
  ["WebSockets", "json"],
  ["WebSockets", "messagepack"],
  ["ServerSentEvents", "json"],
  ["LongPolling", "json"],
  ["LongPolling", "messagepack"],
];

// Over HTTPS the browser speaks HTTP/2, and its WebSockets are streams of that.
const HOSTS = ["http://127.0.0.1:0", "https://127.0.0.1:0"];

let browser, hosts, site, page;

before(async () => {
  [browser, ...hosts] = await Promise.all([launch(), ...HOSTS.map(startHost)]);
  site = createServer(async (request, response) => {
    const script = SCRIPTS[request.url];
    if (script) {
      response.setHeader("Content-Type", "text/javascript");
      response.end(await readFile(new URL(`node_modules/${script}`, import.meta.url)));
    } else {
      response.setHeader("Content-Type", "text/html");
      response.end(Object.keys(SCRIPTS).map((path) => `<script src="${path}"></script>`).join(""));
    }
  }).listen(0, "127.0.0.1");
  await once(site, "listening");
  page = await browser.newPage({ ignoreHTTPSErrors: true });
  await page.goto(`http://127.0.0.1:${site.address().port}/`);
});
after(async () => {
  await browser.close();
  site.close();
  await Promise.all(hosts.map((host) => host.stop()));
});

for (const [number, [transport, protocol]] of HOSTS.flatMap((_, number) => WAYS.map((way) => [number, way]))) {
  const secure = HOSTS[number].startsWith("https");
  test(`${transport} with ${protocol}${secure ? " over HTTP/2" : ""}`, async () => {
    const seen = await page.evaluate(tour, { host: hosts[number].url, transport, protocol });
    assert.deepEqual(seen, {
      transport,
      echo: { text: "ö 💬", list: [1, null] },
      message: "hello",
      error: "An unexpected error occurred invoking 'ThrowException' on the server. InvalidOperationException: boom",
      stream: ["a", "b", "c"],
      concat: "ab",
      answer: "10",
      authorized: "in",
      refused: true,
      // Only HTTP/1.1 upgrades a connection, with a key.
      upgraded: transport === "WebSockets" && !secure,
    });
  });
}

// Runs in the browser.
async function tour({ host, transport, protocol }) {
  const { signalR } = window;
  const connect = async (path, options = {}) => {
    const builder = new signalR.HubConnectionBuilder()
      .withUrl(host + path, { transport: signalR.HttpTransportType[transport], ...options })
      .configureLogging(signalR.LogLevel.None);
    if (protocol === "messagepack") builder.withHubProtocol(new signalR.protocols.msgpack.MessagePackHubProtocol());
    const connection = builder.build();
    await connection.start();
    return connection;
  };
  const hub = await connect("/testHub");
  const message = new Promise((resolve) => hub.on("Message", resolve));
  hub.on("Result", () => 10);
  await hub.invoke("InvokeWithString", "hello");
  const stream = [];
  await new Promise((complete, error) => {
    hub.stream("Stream").subscribe({ next: (item) => stream.push(item), complete, error });
  });
  const subject = new signalR.Subject();
  const concat = hub.invoke("StreamingConcat", subject);
  for (const text of ["a", "b"]) subject.next(text);
  subject.complete();
  const token = await (await fetch(`${host}/generateJwtToken`)).text();
  const authorized = await connect("/authorizedHub", { accessTokenFactory: () => token });
  const seen = {
    transport: await hub.invoke("GetActiveTransportName"),
    echo: await hub.invoke("Echo", { text: "ö 💬", list: [1, null] }),
    message: await message,
    error: await hub.invoke("ThrowException", "boom").catch((error) => error.message),
    stream,
    concat: await concat,
    answer: await (await fetch(`${host}/clientresult/${hub.connectionId}`)).text(),
    authorized: await authorized.invoke("Echo", "in"),
    refused: await connect("/authorizedHub").then(() => false, () => true),
    upgraded: await hub.invoke("GetHeader", "sec-websocket-key").then((key) => Boolean(key)),
  };
  await Promise.all([hub.stop(), authorized.stop()]);
  return seen;
}
