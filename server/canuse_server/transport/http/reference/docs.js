// The page: the services and methods of /openapi.json, each with its request, its answer, and a form to call it.
import { callForm } from "./calls.js";
import { element, fieldsOf, inline, prose } from "./fields.js";

const main = document.getElementById("methods");
const find = document.getElementById("find");

async function load() {
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw new Error(`/openapi.json: status ${answer.status}`);
  const api = await answer.json();
  const intro = element("section", {}, prose(api.info.description));
  intro.append(element("p", {}, element("a", { href: "/openapi.json" }, "openapi.json"), " has all of this for programs."));
  main.append(intro, ...api.tags.map((tag) => service(api, tag)));
  document.getElementById("services").append(
    ...api.tags.map(({ name }) => element("li", {}, element("a", { href: `#${name}` }, name))),
  );
  find.addEventListener("input", filter);
  addEventListener("hashchange", show);
  show();
}

function service(api, tag) {
  const section = element("section", { id: tag.name });
  section.append(element("h2", {}, tag.name), prose(tag.description));
  for (const [path, { post }] of Object.entries(api.paths)) {
    if (post.tags.includes(tag.name)) section.append(method(api, path, post));
  }
  return section;
}

function method(api, path, operation) {
  const [sentence] = operation.description.match(/^.+?\.(?=\s|$)/s);
  const details = element(
    "details",
    { id: `${operation.tags[0]}.${operation.summary}` },
    element("summary", {}, element("h3", {}, operation.summary), " ", element("span", { className: "brief" }, ...inline(sentence))),
  );
  details.dataset.words = `${operation.summary} ${operation.description}`.toLowerCase();
  // What is in it is made when it is opened: there are many.
  details.addEventListener("toggle", () => details.childElementCount > 1 || details.append(contents(api, path, operation)));
  return details;
}

function contents(api, path, operation) {
  const [[mediaType, request]] = Object.entries(operation.requestBody.content);
  const [answer] = Object.values(operation.responses["200"].content);
  const fields = element("div", { className: "fields" });
  fields.append(element("h4", {}, "Request"), fieldsOf(api, request.schema));
  fields.append(element("h4", {}, "Answer"), fieldsOf(api, answer.schema));
  const body = element("div", { className: "contents" }, prose(operation.description));
  body.append(callForm(path, operation, mediaType, request.example), fields);
  return body;
}

function filter() {
  const words = find.value.toLowerCase().split(/\s+/);
  let count = 0;
  for (const section of main.querySelectorAll("section[id]")) {
    const methods = [...section.querySelectorAll("details[data-words]")];
    for (const each of methods) each.hidden = !words.every((word) => each.dataset.words.includes(word));
    const shown = methods.filter((each) => !each.hidden).length;
    section.hidden = shown === 0;
    count += shown;
  }
  document.getElementById("found").textContent = find.value && `${count} found`;
}

function show() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target === null || target === main) return;
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.querySelector("summary").focus();
  }
  target.scrollIntoView();
}

load().catch((error) => main.append(element("p", { role: "alert" }, `The page could not be loaded. ${error.message}`)));
