// What makes the pages more pleasant. They can be read, and their forms be sent, without it.
"use strict";

// Ids are copied with a click.
for (const button of document.querySelectorAll(".copy")) {
  button.hidden = !navigator.clipboard;
}
const status = document.createElement("div");
status.className = "unseen";
status.setAttribute("role", "status");
document.body.append(status);
document.addEventListener("click", async (event) => {
  const button = event.target.closest(".copy");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    status.textContent = "The browser does not let this page copy";
    return;
  }
  status.textContent = `Copied ${button.dataset.copy}`;
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 1500);
});

// Countdowns go on while a page is open, unless the server's clock stands still.
const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
function duration(seconds) {
  const parts = [];
  let left = Math.max(0, Math.round(seconds));
  for (const [name, size] of UNITS) {
    const count = Math.floor(left / size);
    if (count || parts.length || name === "s") parts.push([count, name]);
    left %= size;
  }
  const shown = parts.slice(0, 2);
  return shown.filter(([count]) => count || shown.length === 1).map((part) => part.join(" ")).join(" ");
}
const now = Number(document.documentElement.dataset.now);
const opened = performance.now();
if (now) {
  setInterval(() => {
    const at = now + performance.now() - opened;
    for (const time of document.querySelectorAll("time.countdown")) {
      time.textContent = duration((Date.parse(time.dateTime) - at) / 1000);
    }
  }, 1000);
}

// While the next page is awaited, a line at the top says so.
function busy(is) {
  document.documentElement.classList.toggle("busy", is);
}
addEventListener("submit", (event) => busy(!event.defaultPrevented));
addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (link && !link.hash && !event.defaultPrevented && !event.button && !event.ctrlKey && !event.metaKey && !event.shiftKey) busy(true);
});
addEventListener("pageshow", () => busy(false));

// Figures are read anew while the page is looked at.
for (const part of document.querySelectorAll("[data-refresh]")) {
  setInterval(() => {
    if (document.hidden) return;
    const request = new XMLHttpRequest();
    request.responseType = "document";
    request.onload = () => {
      const found = request.response?.querySelector("[data-refresh]");
      if (request.status === 200 && found) part.replaceChildren(...found.childNodes);
    };
    request.open("GET", location.href);
    request.send();
  }, 1000 * Number(part.dataset.refresh));
}
