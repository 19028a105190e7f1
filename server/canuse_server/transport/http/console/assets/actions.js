// Forms that change something. They can be sent without it.
"use strict";

// A form is sent once, also with a double click. Back on the page, it can be sent again.
const sent = new WeakSet();
document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-once]")) return;
  if (sent.has(event.target)) event.preventDefault();
  sent.add(event.target);
});
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const form of document.querySelectorAll("[data-once]")) sent.delete(form);
});

// What has been done is said once: whoever reloads the page or gets its address is not told again.
if (document.querySelector("[data-done]")) {
  const address = new URL(location.href);
  address.searchParams.delete("done");
  history.replaceState(null, "", address);
}

// A migration goes on by itself while its page is open.
document.querySelector("form[data-go-on]")?.requestSubmit();

const wrong = document.querySelector("[aria-invalid]");
if (wrong) wrong.focus();
