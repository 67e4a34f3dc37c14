// The official client against the test host: everything that a suite of this protocol tries, on every
// transport and in both protocols.
import assert from 'node:assert/strict';
import { once, EventEmitter } from 'node:events';
import { after, afterEach, describe, test } from 'node:test';
import * as signalR from '@microsoft/signalr';
import { MessagePackHubProtocol } from '@microsoft/signalr-protocol-msgpack';
import { startHost } from './host.mjs';

const host = await startHost();
const HOST = host.url;
const { WebSockets, ServerSentEvents, LongPolling } = signalR.HttpTransportType;
const json = new signalR.JsonHubProtocol();
const messagepack = new MessagePackHubProtocol();

const WAYS = [
  [WebSockets, json],
  [WebSockets, messagepack],
  [ServerSentEvents, json],
  [LongPolling, json],
  [LongPolling, messagepack],
];
const open = [];

function build(path, transport, protocol, options = {}, configure = (builder) => builder) {
  const connection = configure(
    new signalR.HubConnectionBuilder()
      .withUrl(HOST + path, { transport, ...options })
      .withHubProtocol(protocol)
      .configureLogging(signalR.LogLevel.None),
  ).build();
  open.push(connection);
  return connection;
}

async function connect(...args) {
  const connection = build(...args);
  await connection.start();
  return connection;
}

// What the server invokes next on the client.
function next(connection, method) {
  return new Promise((resolve) => connection.on(method, (...values) => resolve(values)));
}

async function collect(stream) {
  const items = [];
  await new Promise((resolve, reject) => {
    stream.subscribe({ next: (item) => items.push(item), complete: resolve, error: reject });
  });
  return items;
}

after(() => host.stop());
afterEach(async () => {
  await Promise.all(open.splice(0).map((connection) => connection.stop()));
});

for (const [transport, protocol] of WAYS) {
  describe(`${signalR.HttpTransportType[transport]} with ${protocol.name}`, () => {
    const hub = (...rest) => connect('/testhub', transport, protocol, ...rest);

    test('invocations, their results and errors', async () => {
      const connection = await hub();
      for (const value of ['ö 💬', 42, 1.5, null, true, [1, 'a'], { a: { b: [] } }]) {
        assert.deepEqual(await connection.invoke('Echo', value), value);
      }
      assert.equal(await connection.invoke('GetCallerConnectionId'), connection.connectionId);
      assert.equal(
        await connection.invoke('GetActiveTransportName'),
        signalR.HttpTransportType[transport],
      );
      await assert.rejects(connection.invoke('ThrowException', 'boom'), {
        message:
          "An unexpected error occurred invoking 'ThrowException' on the server. InvalidOperationException: boom",
      });
      await assert.rejects(connection.invoke('Nope'), {
        message:
          "Failed to invoke 'Nope' due to an error on the server. HubException: Method does not exist.",
      });
    });

    test('the server invokes the client', async () => {
      const connection = await hub();
      const message = next(connection, 'message');
      await connection.invoke('InvokeWithString', 'hello');
      assert.deepEqual(await message, ['hello']);
      const object = next(connection, 'CustomObject');
      await connection.send('SendCustomObject', { Name: 'ada', Value: 1 });
      assert.deepEqual(await object, [{ Name: 'ada', Value: 1 }]);
    });

    test('streams from the server', async () => {
      const connection = await hub();
      assert.deepEqual(await collect(connection.stream('Stream')), ['a', 'b', 'c']);
      assert.deepEqual(await collect(connection.stream('EmptyStream')), []);
      await assert.rejects(collect(connection.stream('StreamThrowException', 'boom')), {
        message:
          "An unexpected error occurred invoking 'StreamThrowException' on the server. InvalidOperationException: boom",
      });
      await assert.rejects(collect(connection.stream('Echo', 1)), {
        message:
          "The client attempted to invoke the non-streaming 'Echo' method with a streaming invocation.",
      });
      await assert.rejects(connection.invoke('Stream'), {
        message:
          "The client attempted to invoke the streaming 'Stream' method with a non-streaming invocation.",
      });
    });

    test('a stream that is canceled stops', async () => {
      const connection = await hub();
      const canceled = next(connection, 'StreamCanceled');
      const started = new EventEmitter();
      const subscription = connection.stream('InfiniteStream').subscribe({
        next: () => started.emit('item'),
        error() {},
        complete() {},
      });
      await once(started, 'item');
      subscription.dispose();
      assert.deepEqual(await canceled, []);
    });

    test('streams from the client', async () => {
      const connection = await hub();
      const texts = new signalR.Subject();
      const result = connection.invoke('StreamingConcat', texts);
      for (const text of ['scale', '-', 'out']) texts.next(text);
      texts.complete();
      assert.equal(await result, 'scale-out');

      const failing = new signalR.Subject();
      const failed = connection.invoke('StreamingConcat', failing);
      failing.error(new Error('no more'));
      await assert.rejects(failed, {
        message:
          "An unexpected error occurred invoking 'StreamingConcat' on the server. HubException: no more",
      });
    });

    test('objects of all kinds', async () => {
      const connection = await hub();
      const binary = protocol === messagepack;
      const date = new Date('2002-04-01T10:20:15Z');
      const object = {
        String: 'Hello, World!',
        IntArray: [1, 2, 3],
        ByteArray: binary ? new Uint8Array([1, 2, 3]) : 'AQID',
        Guid: '00010203-0405-0607-0706-050403020100',
        DateTime: binary ? date : '2002-04-01T10:20:15Z',
      };
      const echoed = await connection.invoke('EchoComplexObject', object);
      if (binary) echoed.ByteArray = new Uint8Array(echoed.ByteArray);
      assert.deepEqual(echoed, object);
      const sent = next(connection, 'ComplexObject');
      await connection.send('SendComplexObject');
      const [received] = await sent;
      assert.deepEqual(received.DateTime, binary ? new Date('2000-01-01T00:00:00Z') : '2000-01-01T00:00:00Z');
    });

    test('the server asks the client', async () => {
      const connection = await hub();
      const ask = async (id) =>
        (await fetch(`${HOST}/clientresult/${id ?? connection.connectionId}`)).text();
      assert.equal(await ask('nobody'), "Connection 'nobody' does not exist.");
      assert.equal(await ask(), "Client didn't provide a result.");
      connection.on('Result', () => 10);
      assert.equal(await ask(), '10');
      connection.off('Result');
      connection.on('Result', async () => { throw new Error('from callback'); });
      assert.equal(await ask(), 'Error: from callback');
      connection.off('Result');
      connection.on('Result', () => 'ten');
      assert.match(await ask(), /^Error trying to deserialize result to i32\./);
      connection.off('Result');
      connection.on('Result', () => new Promise(() => {}));
      const asked = ask();
      const id = connection.connectionId;
      await new Promise((resolve) => setTimeout(resolve, 100));
      await connection.stop();
      assert.equal(await asked, `Connection '${id}' disconnected.`);
    });

    test('headers and cookies', async () => {
      const connection = await hub({ headers: { 'X-Test': 'yes' } });
      assert.equal(await connection.invoke('GetHeader', 'X-Test'), 'yes');
      assert.equal(await connection.invoke('GetHeader', 'X-Other'), null);
      assert.equal(await connection.invoke('GetCookie', 'testCookie'), 'testValue');
      assert.equal(await connection.invoke('GetCookie', 'testCookie2'), 'testValue2');
      assert.equal(await connection.invoke('GetCookie', 'expiredCookie'), null);
    });

    test('a redirect is followed', async () => {
      const path = `/redirect?numRedirects=0&baseUrl=${HOST}`;
      const connection = await connect(path, transport, protocol);
      assert.equal(await connection.invoke('GetNumRedirects'), 1);
    });

    test('a token opens the door', async () => {
      const token = await (await fetch(`${HOST}/generateJwtToken`)).text();
      const connection = await connect('/AuthorizedHub', transport, protocol, {
        accessTokenFactory: () => token,
      });
      assert.equal(await connection.invoke('Echo', 'in'), 'in');
      await assert.rejects(
        build('/authorizedhub', transport, protocol).start(),
        /Unauthorized.*401/,
      );
      await assert.rejects(
        build('/authorizedhub', transport, protocol, {
          accessTokenFactory: () => token.slice(0, -2) + 'xx',
        }).start(),
        /Unauthorized.*401/,
      );
    });

    test('a large message arrives, and one that is too large closes', async () => {
      const connection = await hub();
      const large = 'x'.repeat(32_000);
      assert.equal(await connection.invoke('Echo', large), large);
      const closed = new Promise((resolve) => connection.onclose(resolve));
      connection.send('Echo', 'x'.repeat(40_000)).catch(() => {});
      assert.match(String(await closed), /Connection closed with an error/);
    });
  });
}

test('the client falls back to what the server offers', async () => {
  const connection = await connect('/testhub-nowebsockets', undefined, json);
  assert.equal(await connection.invoke('GetActiveTransportName'), 'ServerSentEvents');
  const binary = await connect('/TestHub-NoWebSockets', undefined, messagepack);
  assert.equal(await binary.invoke('GetActiveTransportName'), 'LongPolling');
});

test('the text of a failed negotiation reaches the user', async () => {
  await assert.rejects(build('/bad-negotiate', WebSockets, json).start(), /Some response from server/);
});

for (const protocol of [json, messagepack]) {
  test(`a connection outlives its socket with ${protocol.name}`, async () => {
    const connection = await connect('/testhub', WebSockets, protocol, {}, (builder) =>
      builder.withStatefulReconnect().withAutomaticReconnect([0]),
    );
    const id = connection.connectionId;
    let reconnected = false;
    connection.onreconnecting(() => { reconnected = true; });
    const messages = [];
    connection.on('Message', (text) => messages.push(text));
    for (let round = 0; round < 3; round++) {
      await connection.invoke('InvokeWithString', `before ${round}`);
      // The socket breaks without a word.
      connection.connection.transport._webSocket._socket.destroy();
      await connection.invoke('InvokeWithString', `after ${round}`);
    }
    assert.deepEqual(messages, [0, 1, 2].flatMap((round) => [`before ${round}`, `after ${round}`]));
    assert.equal(await connection.invoke('GetCallerConnectionId'), id);
    assert.equal(reconnected, false);
  });
}
