// Freehold's one script. Every page works without it; it only keeps what is shown up to date.
"use strict";

// Live parts: elements with data-live and an id. The page itself is fetched again and they are exchanged.
const every = Number(document.body.dataset.refresh || 0) * 1000;

async function refresh() {
  const answer = await fetch(location.href, { headers: { "X-Refresh": "1" }, redirect: "manual" });
  // Signed out meanwhile: the server's redirect is followed by the whole page.
  if (answer.type === "opaqueredirect" || answer.status === 401) return location.reload();
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const old of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(old.id);
    // What someone is typing in or tabbing through is left alone.
    if (!fresh || old.contains(document.activeElement) || old.innerHTML === fresh.innerHTML) continue;
    old.innerHTML = fresh.innerHTML;
  }
  document.body.classList.remove("stale");
  return page;
}

let wait = every;
async function tick() {
  if (document.visibilityState === "visible") {
    try {
      await refresh();
      wait = every;
    } catch {
      // The daemon restarts or the network is away: say so, ask again, less often.
      document.body.classList.add("stale");
      wait = Math.min(wait * 2, 60000);
    }
  }
  setTimeout(tick, wait);
}
if (every > 0) setTimeout(tick, every);

// Logs: an element with data-stream takes the text at that address as it
// comes, and after a cut goes on where it was.
async function follow(log) {
  const endless = log.hasAttribute("data-endless");
  let lines = 0;
  for (let pause = 500; ; pause = Math.min(pause * 2, 10000)) {
    try {
      const url = new URL(log.dataset.stream, location.href);
      if (!endless) {
        url.searchParams.set("from", log.dataset.from);
        url.searchParams.set("skip", lines);
        // A line that was cut in its middle comes again whole.
        const whole = log.textContent.lastIndexOf("\n") + 1;
        if (whole < log.textContent.length) log.textContent = log.textContent.slice(0, whole);
      }
      const answer = await fetch(url, { redirect: "manual" });
      if (answer.type === "opaqueredirect") return location.reload();
      // Signed out, or gone. Anything else (a daemon that starts again answers 502 and 503) passes.
      if ([401, 403, 404].includes(answer.status)) return;
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      let fresh = endless;
      const reader = answer.body.getReader();
      const decoder = new TextDecoder();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        pause = 500;
        const text = decoder.decode(value, { stream: true });
        lines += text.split("\n").length - 1;
        // An endless log begins again with what was said before.
        if (fresh) log.textContent = "";
        fresh = false;
        const low = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
        log.append(text);
        if (low) log.scrollTop = log.scrollHeight;
      }
      if (!endless) {
        // It ends with what it is of, and with a daemon that stops in order: the page says which.
        const page = await refresh();
        if (!page || !page.getElementById(log.id)?.hasAttribute("data-stream")) return;
      }
    } catch {
      // Cut off, or nobody there: taken up again where it stopped.
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}
for (const log of document.querySelectorAll("[data-stream]")) {
  log.scrollTop = log.scrollHeight;
  follow(log);
}

// Copy buttons exist only where they can work.
for (const button of document.querySelectorAll("button[data-copy]")) {
  if (!navigator.clipboard) break;
  button.classList.remove("only-script");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim());
    button.textContent = "Copied";
  });
}
