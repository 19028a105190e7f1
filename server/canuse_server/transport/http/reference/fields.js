// Schemas and texts as elements. Nothing is made from HTML in a string.
const SCHEMAS = "#/components/schemas/";

export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  const { role, ...others } = properties;
  if (role) made.setAttribute("role", role);
  Object.assign(made, others);
  made.append(...children);
  return made;
}

/** The paragraphs and lists of a comment, with `code` in them. */
export function prose(text) {
  const made = document.createDocumentFragment();
  for (const paragraph of (text ?? "").split("\n\n").filter(Boolean)) {
    const lines = paragraph.split("\n");
    if (lines.every((line) => line.startsWith("- "))) {
      made.append(element("ul", {}, ...lines.map((line) => element("li", {}, ...inline(line.slice(2))))));
    } else {
      made.append(element("p", {}, ...inline(paragraph)));
    }
  }
  return made;
}

/** A text with `code` in it. */
export function inline(text) {
  return text.split("`").map((part, index) => (index % 2 ? element("code", {}, part) : part));
}

/** The fields of a message, each with its type and what it means. */
export function fieldsOf(api, schema) {
  const message = resolved(api, schema);
  const names = Object.entries(message.properties ?? {});
  if (names.length === 0) return element("p", { className: "none" }, "No fields.");
  return element("dl", {}, ...names.flatMap(([name, field]) => described(api, name, field)));
}

function described(api, name, field) {
  const meaning = element("dd", {}, prose(field.description));
  const inner = field.items ?? field;
  const kind = inner.$ref ? resolved(api, inner) : null;
  if (kind?.properties || kind?.enum) meaning.append(opened(api, inner.$ref.slice(SCHEMAS.length), kind));
  return [element("dt", {}, element("code", {}, name), " ", element("span", { className: "type" }, typeOf(api, field))), meaning];
}

/** A message or an enum inside another one, shown when somebody wants to see it: some contain themselves. */
function opened(api, name, kind) {
  const details = element("details", {}, element("summary", {}, shortName(name)));
  details.addEventListener("toggle", () => {
    if (details.childElementCount > 1) return;
    details.append(prose(kind.description));
    if (kind.properties) details.append(fieldsOf(api, kind));
  });
  return details;
}

function typeOf(api, field) {
  if (field.items) return `list of ${typeOf(api, field.items)}`;
  if (field.additionalProperties && !field.properties) return `object of ${typeOf(api, field.additionalProperties)}`;
  if (!field.$ref) return field.type;
  const kind = resolved(api, field);
  if (kind.properties || kind.enum) return shortName(field.$ref.slice(SCHEMAS.length));
  return kind.description.replace(/[.:].*/s, "").toLowerCase();
}

function shortName(name) {
  return name.slice(name.lastIndexOf(".") + 1);
}

function resolved(api, schema) {
  return schema.$ref ? api.components.schemas[schema.$ref.slice(SCHEMAS.length)] : schema;
}
