"""The page at `/docs`: what the server offers, and a box to try it. It loads nothing from elsewhere."""

from __future__ import annotations

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>labelspace</title>
<style>
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem }
textarea, input { font: inherit; width: 100%; box-sizing: border-box }
code, pre { font-family: ui-monospace, monospace; font-size: .9em }
pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: .5rem; border: 1px solid #8886 }
dt { margin-top: .7rem }
@media (prefers-color-scheme: dark) { body { background: #111; color: #eee } a { color: #9cf } }
</style></head><body>
<h1>labelspace</h1>
<form id="ask">
<label>Texts, one a line <textarea id="texts" rows="4" required>Where is my parcel?</textarea></label>
<label>Key, if the server has one <input id="key" type="password" autocomplete="off"></label>
<p><button>Classify</button></p></form>
<pre id="reply" aria-live="polite"></pre>
<h2>Pages</h2><dl id="pages"></dl>
<p>In full: <a href="openapi.json">openapi.json</a></p>
<script>
const at = id => document.getElementById(id);
const alone = text => "\\u2068" + text + "\\u2069";  /* scripts that run from right to left move nothing else */
const make = (name, text) => Object.assign(document.createElement(name), {textContent: text});
at("ask").onsubmit = async event => {
  event.preventDefault();
  const headers = {"Content-Type": "application/json"};
  if (at("key").value) headers.Authorization = "Bearer " + at("key").value;
  const input = at("texts").value.split("\\n").filter(text => text.trim());
  try {
    const reply = await fetch("classify", {method: "POST", headers, body: JSON.stringify({input})});
    const found = await reply.json();
    at("reply").textContent = reply.ok
      ? found.data.map((one, i) => alone(input[i]) + "\\n  " + (one.labels.map(alone).join(", ") || "(none)") + "  " +
          (one.confidence === null ? "" : one.confidence.toFixed(3)) +
          (one.answered_by === "head" ? "" : "  by " + one.answered_by) +
          (one.review === null ? "" : "  for a person: " + one.review)).join("\\n")
      : found.error.message;
  } catch (error) { at("reply").textContent = String(error); }
};
fetch("openapi.json").then(reply => reply.json()).then(spec => {
  for (const [path, methods] of Object.entries(spec.paths))
    for (const [method, page] of Object.entries(methods)) {
      const title = make("dt", ""); title.append(make("code", method.toUpperCase() + " " + path));
      at("pages").append(title, make("dd", page.description || page.summary || ""));
    }
});
</script></body></html>
"""
