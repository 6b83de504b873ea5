// Runs static/app.js on a page with one log, with a server that answers what this script says. Told by tests/live_log.rs.
import assert from "node:assert";
import { readFileSync } from "node:fs";
import vm from "node:vm";

const source = readFileSync(process.argv[2], "utf8");

/** An answer whose body comes in pieces and then ends, or breaks off. */
const body = (pieces, breaks = false) => ({
  status: 200,
  ok: true,
  body: {
    getReader: () => ({
      async read() {
        if (pieces.length > 0) return { done: false, value: new TextEncoder().encode(pieces.shift()) };
        if (breaks) throw new TypeError("network error");
        return { done: true };
      },
    }),
  },
});
const refused = (status) => ({ status, ok: false });

/** Follows a log while the server gives `answers`, each once; the page then says whether the deploy still runs. */
async function follow(answers, running) {
  const seen = { asked: [], pauses: [], reloaded: false };
  let ended;
  const end = new Promise((resolve) => { ended = resolve; });
  const log = {
    id: "log", dataset: { stream: "/log", from: "7" }, textContent: "zero\n",
    hasAttribute: () => false,
    append(text) { this.textContent += text; },
  };
  const url = "https://panel.test/apps/tasks/deploys/1";
  const page = { getElementById: () => ({ hasAttribute: () => running.shift() }) };
  const context = vm.createContext({
    URL, TextDecoder, URLSearchParams, console,
    location: { href: url, reload() { seen.reloaded = true; ended(); } },
    navigator: {},
    document: {
      body: { dataset: {}, classList: { add() {}, remove() {} } },
      documentElement: { dataset: {} },
      querySelector: () => null,
      getElementById: () => null,
      querySelectorAll: (css) => (css === "[data-stream]" ? [log] : []),
      addEventListener() {},
    },
    DOMParser: class { parseFromString() { return page; } },
    setTimeout(then, pause) { seen.pauses.push(pause); setImmediate(then); },
    async fetch(asked) {
      if (asked === url) return { status: 200, ok: true, text: async () => "" };
      assert.equal(asked.searchParams.get("from"), "7");
      seen.asked.push(Number(asked.searchParams.get("skip")));
      const answer = answers.shift();
      if (answers.length === 0) setTimeout(ended, 50);
      if (answer instanceof Error) throw answer;
      return answer;
    },
  });
  vm.runInContext(source, context);
  await end;
  return { ...seen, text: log.textContent };
}

const restarted = await follow(
  [body(["one\ntwo\nthr"], true), refused(503), new TypeError("away"), refused(502), body(["three\nfour\n"])],
  [false],
);
assert.equal(restarted.text, "zero\none\ntwo\nthree\nfour\n", "a line is missing or there twice");
assert.deepEqual(restarted.asked, [0, 2, 2, 2, 2]);
assert.deepEqual(restarted.pauses, [500, 1000, 2000, 4000], "the pauses grow");

const away = await follow([...Array(9).fill(0).map(() => refused(503)), body(["one\n"])], [false]);
assert.equal(Math.max(...away.pauses), 10000, "and are bounded");
assert.equal(away.text, "zero\none\n");

const stopped = await follow([body(["one\n"]), body(["two\n"])], [true, false]);
assert.equal(stopped.text, "zero\none\ntwo\n", "a stream that ended before its deploy goes on");

for (const status of [401, 403, 404]) {
  const gone = await follow([refused(status)], []);
  assert.deepEqual([gone.asked, gone.pauses], [[0], []], `${status} is the end`);
}
const signedOut = await follow([{ type: "opaqueredirect", status: 0, ok: false }], []);
assert.equal(signedOut.reloaded, true, "signed out: the whole page follows the redirect");
