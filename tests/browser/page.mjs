// Drives the chat page as a person does: by what is labelled and by what can be read.
import { mkdirSync } from "node:fs";
import { chromium } from "playwright-core";
import { target } from "./server.mjs";

const screenshots = `${target}/screenshots`;

/** A real browser for all tests of a file. */
export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

export class Chat {
  #page;

  constructor(page) {
    this.#page = page;
  }

  /** Opens the page at `url` in a browser profile of its own, as `user`, and waits for the connection. */
  static async open(t, browser, url, user, options = {}) {
    const context = await browser.newContext({ viewport: { width: 900, height: 620 }, ...options });
    t.after(() => context.close());
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    const chat = new Chat(page);
    chat.errors = [];
    page.on("pageerror", (error) => chat.errors.push(error));
    await page.goto(url);
    await chat.state("connected");
    await page.getByLabel("Your name").fill(user);
    return chat;
  }

  get page() {
    return this.#page;
  }

  /** Waits until the page says that it is in this state. */
  async state(state) {
    await this.#page.locator(`#state[data-state=${state}]`).waitFor();
  }

  async say(text) {
    await this.#page.getByLabel("Message", { exact: true }).fill(text);
    await this.#page.getByRole("button", { name: "Send" }).click();
  }

  async join(room) {
    await this.#page.getByLabel("Room to join").fill(room);
    await this.#page.getByRole("button", { name: "Join", exact: true }).click();
    await this.#page.getByText(`You are in ${room}`).waitFor();
  }

  async leave(room) {
    await this.#page.getByRole("button", { name: `Leave ${room}` }).click();
  }

  async open(room) {
    await this.#page.getByRole("button", { name: room, exact: false }).first().click();
  }

  /** Waits until the log shows this message, and returns who said it. */
  async hears(text) {
    const message = this.#page.locator("#log .message").filter({ hasText: text });
    await message.waitFor();
    return message.locator("b").innerText();
  }

  /** What the log shows, in order. */
  async heard() {
    return this.#page.locator("#log .message p").allInnerTexts();
  }

  /** Which node the page says it is connected to. */
  async node() {
    const node = this.#page.locator("#node code");
    await node.waitFor();
    return node.getAttribute("title");
  }

  async screenshot(name) {
    mkdirSync(screenshots, { recursive: true });
    await this.#page.screenshot({ path: `${screenshots}/${name}.png` });
  }
}
