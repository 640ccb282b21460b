// Shows the OpenAPI document, and sends requests to this origin. All text is shown as text; nothing is parsed as HTML.

const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

// The prefix by which this page was opened (/.stateroom, or the path of PUBLIC_URL). Usually empty.
const ROOT = new URL("..", import.meta.url).pathname.slice(0, -1);

const pretty = (value) => JSON.stringify(value, null, 2);

function start(api) {
  const resolve = (schema) => (schema?.$ref ? api.components.schemas[schema.$ref.split("/").at(-1)] : schema);

  const example = (given) => {
    const schema = resolve(given) ?? {};
    if (schema.examples?.length) return schema.examples[0];
    if (schema.default !== undefined) return schema.default;
    if (schema.enum) return schema.enum[0];
    if (schema.const !== undefined) return schema.const;
    if (schema.anyOf) return example(schema.anyOf[0]);
    if (schema.properties) return Object.fromEntries(Object.entries(schema.properties).map(([name, each]) => [name, example(each)]));
    if (schema.type === "array") return [example(schema.items)];
    return { string: "", integer: 0, number: 0, boolean: false }[schema.type] ?? {};
  };

  const words = (schema) => {
    const each = resolve(schema) ?? {};
    if (each.anyOf) return each.anyOf.map(words).join(" or ");
    if (each.enum) return each.enum.map(pretty).join(" | ");
    const limits = ["minLength", "maxLength", "minimum", "maximum", "pattern", "format"];
    return [each.type, ...limits.filter((name) => name in each).map((name) => `${name} ${each[name]}`)].filter(Boolean).join(", ");
  };

  const fields = (schema) => {
    const { properties = {}, required = [] } = resolve(schema) ?? {};
    const meaning = (each) => resolve(each)?.description ?? each.description ?? "";
    const isExplained = Object.values(properties).some(meaning);
    const rows = Object.entries(properties).map(([name, each]) =>
      make("tr", {},
        make("td", {}, make("code", { textContent: name }), required.includes(name) ? "" : " (optional)"),
        make("td", { textContent: words(each) }),
        isExplained ? make("td", { textContent: meaning(each) }) : ""));
    if (!rows.length) return "";
    const titles = ["Field", "Type", ...(isExplained ? ["Meaning"] : [])];
    const head = make("tr", {}, ...titles.map((text) => make("th", { scope: "col", textContent: text })));
    return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
  };

  const trial = (path, method, operation) => {
    const form = make("form", { className: "trial" });
    const inputs = operation.parameters.filter((each) => each.in !== "cookie").map((each) => {
      const input = make("input", { name: each.name, required: Boolean(each.required), autocomplete: "off" });
      form.append(make("label", {}, `${each.name} (${each.in})`, input));
      return [each, input];
    });
    const media = operation.requestBody?.content["application/json"];
    const body = media && make("textarea", { spellcheck: false, value: pretty(example(media.schema)) });
    if (body) form.append(make("label", {}, "Body", body));
    const shown = make("pre", { hidden: true, tabIndex: 0 });
    shown.setAttribute("role", "status");
    form.append(make("button", { textContent: "Try it" }), shown);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      let target = path;
      const headers = body ? { "Content-Type": "application/json" } : {};
      for (const [each, input] of inputs) {
        if (each.in === "path") target = target.replace(`{${each.name}}`, encodeURIComponent(input.value));
        if (each.in === "header" && input.value) headers[each.name] = input.value;
      }
      shown.hidden = false;
      try {
        const response = await fetch(`${ROOT}${target}`, { method: method.toUpperCase(), headers, body: body?.value, credentials: "same-origin" });
        const text = await response.text();
        const isJson = (response.headers.get("Content-Type") ?? "").includes("json");
        shown.textContent = `${response.status} ${response.statusText}\n\n${isJson ? pretty(JSON.parse(text)) : text}`;
      } catch (error) {
        shown.textContent = `No response: ${error.message}`;
      }
    });
    return form;
  };

  const answers = (responses) => Object.entries(responses).map(([status, each]) => {
    const [type, media] = Object.entries(each.content ?? {})[0] ?? [];
    const text = type?.includes("json") ? pretty(example(media.schema)) : "";
    return make("div", {}, make("h4", { textContent: `${status} ${each.description}` }), text ? make("pre", { textContent: text }) : "");
  });

  const show = (path, method, operation) => make("details", { id: operation.operationId },
    make("summary", {}, make("span", { className: `method ${method}`, textContent: method }), make("code", { textContent: `${ROOT}${path}` }),
      ` ${operation.summary}`),
    make("div", { className: "body" },
      make("p", { textContent: operation.security.length && !operation.security.some((each) => !Object.keys(each).length) ? "Requires a signed-in user." : "" }),
      operation.requestBody ? fields(operation.requestBody.content["application/json"].schema) : "",
      trial(path, method, operation), make("h3", { textContent: "Responses" }), ...answers(operation.responses)));

  document.getElementById("about").textContent = `${api.info.description} Version ${api.info.version}.`;
  const groups = new Map();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const [tag] = operation.tags;
      groups.set(tag, [...(groups.get(tag) ?? []), [path, method, operation]]);
    }
  }
  const contents = document.getElementById("contents");
  const main = document.getElementById("operations");
  for (const [tag, operations] of groups) {
    main.append(make("h2", { textContent: tag }));
    for (const [path, method, operation] of operations) {
      main.append(show(path, method, operation));
      const link = make("a", { href: `#${operation.operationId}`, textContent: operation.summary });
      link.addEventListener("click", () => { document.getElementById(operation.operationId).open = true; });
      contents.append(make("li", {}, link));
    }
  }
  document.getElementById("state").remove();
}

try {
  start(await (await fetch(`${ROOT}/api/openapi.json`)).json());
} catch (error) {
  document.getElementById("state").textContent = `The document could not be loaded: ${error.message}`;
}
