// A small client for the SignalR JSON protocol over WebSockets, so that the examples need no download.
// Applications use @microsoft/signalr.
class Hub {
  #socket; #next = 1; #waiting = new Map(); #handlers = {};

  /** Resolves once the handshake is done. */
  constructor(path, token) {
    const url = new URL(path, location.href.replace(/^http/, 'ws'));
    if (token) url.searchParams.set('access_token', token);
    this.#socket = new WebSocket(url);
    this.ready = new Promise((resolve, reject) => {
      this.#socket.onopen = () => this.#send({ protocol: 'json', version: 1 });
      this.#socket.onclose = () => { this.onclose?.(); reject(new Error('the connection was closed')); };
      this.#socket.onmessage = ({ data }) => {
        for (const record of data.split('\x1e').filter(Boolean)) this.#receive(JSON.parse(record), resolve);
      };
    });
  }

  /** The server invokes this; what it returns answers a server that waits. */
  on(target, handler) { this.#handlers[target.toLowerCase()] = handler; }

  invoke(target, ...args) {
    return new Promise((resolve, reject) => this.#call(1, target, args, { resolve, reject }));
  }

  /** Calls `next` with each item. The function that it returns stops the stream. */
  stream(target, args, next, done = () => {}) {
    const invocationId = this.#call(4, target, args, { resolve: done, reject: done, next });
    return () => this.#send({ type: 5, invocationId });
  }

  /** Sends a stream and resolves with the method's result. */
  upload(target, items) {
    const streamId = `u${this.#next++}`;
    const result = new Promise((resolve, reject) => {
      this.#call(1, target, [], { resolve, reject }, [streamId]);
    });
    for (const item of items) this.#send({ type: 2, invocationId: streamId, item });
    this.#send({ type: 3, invocationId: streamId });
    return result;
  }

  #call(type, target, args, waiting, streamIds) {
    const invocationId = String(this.#next++);
    this.#waiting.set(invocationId, waiting);
    this.#send({ type, invocationId, target, arguments: args, streamIds });
    return invocationId;
  }

  #send(message) { this.#socket.send(JSON.stringify(message) + '\x1e'); }

  async #receive(message, ready) {
    const waiting = this.#waiting.get(message.invocationId);
    switch (message.type) {
      case undefined: return ready();
      case 1: {
        const result = await this.#handlers[message.target.toLowerCase()]?.(...message.arguments);
        if (message.invocationId) this.#send({ type: 3, invocationId: message.invocationId, result: result ?? null });
        return;
      }
      case 2: return waiting?.next(message.item);
      case 3:
        this.#waiting.delete(message.invocationId);
        return message.error ? waiting?.reject(new Error(message.error)) : waiting?.resolve(message.result);
      case 6: return this.#send({ type: 6 });
    }
  }
}

const log = (...words) => document.body.append(words.join(' '), document.createElement('br'));
