// The official client against two nodes of one hub. HUB_A and HUB_B are their URLs; a POST to
// CONTROL/<restart|kill>/<a|b> restarts a node politely or as a crash would, on its old address.
import assert from 'node:assert/strict';
import { once, EventEmitter } from 'node:events';
import { afterEach, describe, test } from 'node:test';
import * as signalR from '@microsoft/signalr';

const { HUB_A, HUB_B, CONTROL } = process.env;
const SKIP_NEGOTIATION = {
  skipNegotiation: true,
  transport: signalR.HttpTransportType.WebSockets,
};

const open = [];

// A connection that records what the server invokes: `await next(connection)` gives the next.
async function connect(url, { options = {}, reconnect } = {}) {
  const builder = new signalR.HubConnectionBuilder()
    .withUrl(url, options)
    .configureLogging(signalR.LogLevel.None);
  if (reconnect) builder.withAutomaticReconnect(reconnect);
  const connection = builder.build();
  connection.events = [];
  connection.arrived = new EventEmitter();
  connection.on('message', (...values) => {
    connection.events.push(values);
    connection.arrived.emit('message');
  });
  await connection.start();
  open.push(connection);
  return connection;
}

async function next(connection) {
  while (connection.events.length === 0) await once(connection.arrived, 'message');
  return connection.events.shift();
}

// The connection on node a is made with options of its own, so that every test can run in two ways.
const pair = async (options) => [await connect(HUB_A, { options }), await connect(HUB_B)];

afterEach(async () => {
  await Promise.all(open.splice(0).map((connection) => connection.stop()));
});

for (const [name, options] of [
  ['with negotiation', {}],
  ['without negotiation', SKIP_NEGOTIATION],
]) {
  describe(name, () => {
    test('a call gives its result', async () => {
      const [a, b] = await pair(options);
      assert.equal(await a.invoke('Add', 2, 3), 5);
      assert.equal(await b.invoke('add', 2, 3), 5);
      const value = { text: 'ö <&> \u001e 💬', list: [1, null, { nested: true }] };
      assert.deepEqual(await a.invoke('Echo', value), value);
      assert.equal(await a.invoke('Void'), null);
    });

    test('a failing call gives its error text', async () => {
      const [a] = await pair(options);
      const on = (method) => `An unexpected error occurred invoking '${method}' on the server.`;
      await assert.rejects(a.invoke('Fail', 'boom'), { message: `${on('Fail')} HubException: boom` });
      await assert.rejects(a.invoke('Crash'), { message: on('Crash') });
      await assert.rejects(a.invoke('Nope'), {
        message:
          "Failed to invoke 'Nope' due to an error on the server. HubException: Method does not exist.",
      });
      await assert.rejects(a.invoke('Add', 1), {
        message: "Failed to invoke 'Add' due to an error on the server.",
      });
      assert.equal(await a.invoke('Add', 1, 1), 2);
    });

    test('all, others and the caller are reached across nodes', async () => {
      const [a, b] = await pair(options);
      await a.invoke('TellAll', 'all');
      await a.invoke('TellOthers', 'others');
      await b.send('TellAll', 'end');
      assert.deepEqual([await next(a), await next(a)], [['all'], ['end']]);
      assert.deepEqual([await next(b), await next(b), await next(b)], [['all'], ['others'], ['end']]);
      await a.invoke('TellCaller', 'caller');
      assert.deepEqual(await next(a), ['caller']);
    });

    test('one connection is reached across nodes', async () => {
      const [a, b] = await pair(options);
      const id = await b.invoke('Id');
      assert.equal(id, b.connectionId);
      await a.invoke('TellOne', id, 'psst');
      assert.deepEqual(await next(b), ['psst']);
    });

    test('a group is reached across nodes, by name', async () => {
      const [a, b] = await pair(options);
      for (const member of [a, b]) await member.invoke('Join', 'room');
      await b.invoke('TellGroup', 'room', 'both');
      assert.deepEqual([await next(a), await next(b)], [['both'], ['both']]);
      await a.invoke('Leave', 'room');
      await b.invoke('TellGroup', 'room', 'only b');
      await b.invoke('TellGroup', 'Room', 'nobody');
      await b.invoke('TellAll', 'end');
      assert.deepEqual(await next(a), ['end']);
      const seen = [await next(b), await next(b)].flat().sort();
      assert.deepEqual(seen, ['end', 'only b']);
    });

    test('stopping is no error', async () => {
      const [a] = await pair(options);
      const closed = new Promise((resolve) => a.onclose(resolve));
      await a.stop();
      assert.equal(await closed, undefined);
    });

    test('a connection that the server ends is closed without an error and stays closed', async () => {
      const a = await connect(HUB_A, { options, reconnect: [0, 0, 0] });
      const closed = new Promise((resolve) => a.onclose(resolve));
      a.onreconnecting(() => assert.fail('it must not reconnect'));
      await a.send('Abort');
      assert.equal(await closed, undefined);
    });

    for (const how of ['restart', 'kill']) {
      test(`a client comes back after a ${how} of its node`, async () => {
        const delays = Array(100).fill(50);
        const a = await connect(HUB_A, { options, reconnect: delays });
        const b = await connect(HUB_B);
        const before = await a.invoke('Id');
        const back = new Promise((resolve) => a.onreconnected(resolve));
        const answer = await fetch(`${CONTROL}/${how}/a`, { method: 'POST' });
        assert.equal(answer.status, 200);
        await back;
        assert.notEqual(await a.invoke('Id'), before);
        await a.invoke('Join', 'room');
        await b.invoke('TellGroup', 'room', 'welcome back');
        assert.deepEqual(await next(a), ['welcome back']);
      });
    }
  });
}
