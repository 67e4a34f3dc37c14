// Two browsers on two processes, with Azure Service Bus between them: what its failures do to a talk.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Chat, launch } from "./page.mjs";
import { serve } from "./server.mjs";
import { servicebus } from "./servicebus.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/** Ada and Ben on a node each, in processes of their own. */
async function meet(t, backplane) {
  const first = await serve(t, { backplane });
  const second = await serve(t, { backplane });
  const ada = await Chat.open(t, browser, first.urls[0], "Ada");
  const ben = await Chat.open(t, browser, second.urls[0], "Ben");
  assert.notEqual(await ada.node(), await ben.node(), "the pages are on different nodes");
  const end = async () => {
    assert.deepEqual([...ada.errors, ...ben.errors], []);
    await first.stop();
    await second.stop();
  };
  return { ada, ben, end };
}

for (const [way, option] of [
  ["AMQP", ""],
  ["HTTPS", "?transport=https"],
]) {
  test(`two browsers talk across two processes, over Service Bus and ${way}`, async (t) => {
    const broker = await servicebus(t);
    const { ada, ben, end } = await meet(t, broker.url + option);
    await ada.say("Good morning from the first node");
    assert.equal(await ben.hears("Good morning from the first node"), "Ada");
    await ben.say("And back from the second");
    assert.equal(await ada.hears("And back from the second"), "Ben");
    assert.deepEqual(await ada.heard(), await ben.heard(), "both saw the same, in the same order");
    await ada.screenshot(`servicebus-${way.toLowerCase()}`);
    await end();
  });
}

// `detach` ends the links of both nodes, as the service does when it is updated; `drop` their connections.
for (const fault of ["detach", "detach?closed=false", "drop"]) {
  test(`a talk goes on over Service Bus when it strikes with ${fault}, with nothing lost and nothing twice`, async (t) => {
    const broker = await servicebus(t);
    const { ada, ben, end } = await meet(t, broker.url);
    const said = [];
    const pages = [ada, ben];
    for (let number = 0; number < 12; number += 1) {
      const text = `message ${number} of 12`;
      // In the middle of the talk, and twice: while it recovers, too.
      if (number === 5 || number === 6) await broker.strike(fault);
      await pages[number % 2].say(text);
      said.push(text);
    }
    // Each page's own order holds; between the pages there is one order, whichever it is.
    for (const text of said) await Promise.all(pages.map((page) => page.hears(text)));
    await ada.say("the end");
    await Promise.all(pages.map((page) => page.hears("the end")));
    const heard = await ada.heard();
    assert.deepEqual(await ben.heard(), heard, "both saw the same, in the same order");
    assert.deepEqual([...heard].sort(), [...said, "the end"].sort(), "nothing is lost and nothing came twice");
    for (const parity of [0, 1]) {
      const own = said.filter((_, number) => number % 2 === parity);
      assert.deepEqual(heard.filter((text) => own.includes(text)), own, "what one said keeps its order");
    }
    await ben.screenshot(`servicebus-${fault.split("?")[0]}`);
    await end();
  });
}
