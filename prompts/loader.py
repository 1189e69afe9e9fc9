"""Load prompt templates and render them into chat messages, byte for byte as they were written.

A template is one file, NAME.jinja: a YAML front matter between two lines `---`, then the
messages. A line that holds only `{# system #}`, `{# user #}` or `{# assistant #}` begins a
message; its content is the lines up to the next such line or the end of the file. The source is
cut there before any value is filled in, so no value can begin a message; it also means that
blocks (`{% for %}`, `{% if %}`) open and close within one message.

    ---
    name: label
    version: 1
    purpose: Give a document one label.
    variables:
      labels: "A list of {name, description}."
      document: The text to label.
    returns: The label's name.
    ---
    {# system #}
    Answer with one of {% for label in labels %}{{ label.name | quote }} {% endfor %}
    {# user #}
    {{ document | fence }}

Nothing is trimmed: a line that holds only `{% for ... %}` leaves an empty line, and `{%- ... %}`
takes the white space before it away. Variables are plain data: text, numbers, lists, mappings.
`document` and `documents` can only be written through a fence.

| filter | writes |
| --- | --- |
| `fence` | a text between two lines that it can't contain |
| `fence_each` | several texts, numbered, each between such lines |
| `fence_lines` | several short texts, numbered, one a line, between such lines |
| `one_line` | the text with each run of white space as one blank |
| `quote` | the text on one line as a JSON string |
| `tojson` | any value as JSON, without HTML escapes |
| `json_lines` | a list as JSON, one element a line |
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path

import yaml
from jinja2 import TemplateSyntaxError, meta, nodes
from pydantic import ValidationError

from labelspace.errors import PromptError
from labelspace.prompts.environment import ENVIRONMENT, FENCES, GLOBALS
from labelspace.prompts.fence import one_line
from labelspace.prompts.prompt import FrontMatter, Part, Prompt

HERE = Path(__file__).parent
ROLES = ("system", "user", "assistant")
FENCED = frozenset({"document", "documents"})
"""Variables that hold documents, and so are only ever written through a fence."""

_MARKER = re.compile(r"^\{#-?[ \t]*(\w+)[ \t]*-?#\}[ \t]*$", re.MULTILINE)


def load_prompt(name: str, *, folder: str | Path | None = None) -> Prompt:
    """Load the template of this name: from `folder` where it has one, otherwise ours.

    Raises:
        PromptError: There is none, or it is malformed.
    """
    built_in = _built_in()
    if name not in built_in:
        raise PromptError(f"no prompt is named {name!r}; there are: {', '.join(built_in)}")
    return _overrides(folder).get(name, built_in[name])


def list_prompts(*, folder: str | Path | None = None) -> list[Prompt]:
    """All templates by name, each from `folder` where that has one.

    Raises:
        PromptError: A template in the folder is malformed or replaces none of ours.
    """
    return list({**_built_in(), **_overrides(folder)}.values())


@lru_cache(maxsize=1)
def _built_in() -> dict[str, Prompt]:
    return {path.stem: read_prompt(path) for path in sorted(HERE.glob("*.jinja"))}


def _overrides(folder: str | Path | None) -> dict[str, Prompt]:
    """The templates of a user's folder, all checked: a misspelt file must not be passed over in silence."""
    if folder is None:
        return {}
    folder, ours = Path(folder), _built_in()
    if not folder.is_dir():
        raise PromptError(f"{folder}: no such folder of prompts")
    paths = sorted(folder.glob("*.jinja"))
    if not paths:
        raise PromptError(f"{folder}: has no NAME.jinja; start from ours with `labelspace prompts show NAME`")
    for path in paths:
        if path.stem not in ours:
            raise PromptError(f"{path}: replaces no prompt of ours; there are: {', '.join(ours)}")
    return {path.stem: read_prompt(path, replaces=ours[path.stem]) for path in paths}


def read_prompt(path: Path, *, replaces: Prompt | None = None) -> Prompt:
    """Read and check one template.

    Args:
        path: The file.
        replaces: The template of ours in whose place it is to stand, whose variables it can use.

    Raises:
        PromptError: The front matter, a message or the declared variables are wrong.
    """
    try:
        # Line ends are read as "\n", so that the hash is the same whatever git did to the file.
        source = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"{path}: can't be read as a prompt: {error}") from error
    head, body, lines_before = _front_matter(source, path)
    parts = _messages(body, path, lines_before)
    used, declared = frozenset().union(*(part.variables for part in parts)), frozenset(head.variables)
    if undeclared := sorted(used - declared):
        raise PromptError(f"{path}: uses {undeclared[0]!r}, which its front matter does not declare under 'variables'")
    if unused := sorted(declared - used):
        raise PromptError(f"{path}: declares the variable {unused[0]!r} but does not use it")
    if strange := sorted(head.example.keys() - declared):
        raise PromptError(f"{path}: gives an example of {strange[0]!r}, which it does not declare")
    if replaces is not None and (foreign := sorted(declared - replaces.known)):
        raise PromptError(
            f"{path}: needs {foreign[0]!r}, which {replaces.name!r} is not given; "
            f"it is given: {', '.join(sorted(replaces.known))}"
        )
    identity = json.dumps([head.version, body], ensure_ascii=False)
    return Prompt(
        head=head,
        source=source,
        path=path,
        hash=hashlib.sha256(identity.encode()).hexdigest()[:12],
        known=declared if replaces is None else replaces.known,
        _parts=parts,
    )


def _front_matter(source: str, path: Path) -> tuple[FrontMatter, str, int]:
    """Cut a file into its front matter, the rest, and the number of lines before that."""
    lines = source.split("\n")
    if lines[0] != "---" or "---" not in lines[1:]:
        raise PromptError(f"{path}: must begin with a YAML front matter between two lines '---'")
    end = lines.index("---", 1)
    try:
        head = FrontMatter.model_validate(yaml.safe_load("\n".join(lines[1:end])) or {})
    except yaml.YAMLError as error:
        raise PromptError(f"{path}: the front matter is not valid YAML: {one_line(str(error))}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PromptError(f"{path}: front matter: {where or 'all of it'}: {first['msg']}") from error
    if head.name != path.stem:
        raise PromptError(f"{path}: is named {head.name!r} in its front matter; file and name must agree")
    return head, "\n".join(lines[end + 1 :]), end + 1


def _messages(body: str, path: Path, lines_before: int) -> tuple[Part, ...]:
    """Cut the body at the lines that begin a message, and compile each."""
    markers = list(_MARKER.finditer(body))
    roles = [marker.group(1) for marker in markers]
    for role in roles:
        if role not in ROLES:
            raise PromptError(f"{path}: the line {{# {role} #}} begins no message; roles are: {', '.join(ROLES)}")
    if not markers or body[: markers[0].start()].strip():
        raise PromptError(f"{path}: after the front matter comes a line {{# system #}} or {{# user #}}")
    if "system" in roles[1:] or roles[-1] != "user":
        raise PromptError(f"{path}: a system message can only come first, and the last is the user's")
    parts = []
    for place, marker in enumerate(markers):
        # The newline that ends a marker's line, and the one that ends the message's last, are the file's.
        end = markers[place + 1].start() if place + 1 < len(markers) else len(body)
        content = body[marker.end() + 1 : end].removesuffix("\n")
        line = lines_before + body.count("\n", 0, marker.end()) + 1
        parts.append(_compile(marker.group(1), content, path, line))
    return tuple(parts)


def _compile(role: str, content: str, path: Path, line: int) -> Part:
    try:
        tree = ENVIRONMENT.parse(content)
        _refuse(tree, path, line)
        variables = frozenset(meta.find_undeclared_variables(tree)) - set(GLOBALS)
        return Part(role, ENVIRONMENT.from_string(content), variables, _lone_document(tree))
    except TemplateSyntaxError as error:
        raise PromptError(f"{path}, line {line + error.lineno}: {error.message}") from error


def _refuse(tree: nodes.Template, path: Path, line: int) -> None:
    """Refuse what reads other files, and a document that is written without a fence."""
    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        raise PromptError(f"{path}, line {line + node.lineno}: a prompt is one file; it can't read others")
    fenced = {id(node.node) for node in tree.find_all(nodes.Filter) if node.name in FENCES}
    for name in tree.find_all(nodes.Name):
        if name.name in FENCED and id(name) not in fenced:
            raise PromptError(
                f"{path}, line {line + name.lineno}: write {{{{ {name.name} | fence }}}}: "
                "only behind a fence is a document kept from giving orders"
            )


def _lone_document(tree: nodes.Template) -> str | None:
    """The document that is written in one place, through `fence` alone and under no condition; else None."""
    names = [name for name in tree.find_all(nodes.Name) if name.name in FENCED]
    outer = [child for node in tree.body if isinstance(node, nodes.Output) for child in node.nodes]
    for node in outer:
        if isinstance(node, nodes.Filter) and node.name == "fence" and not (node.args or node.kwargs):
            return names[0].name if len(names) == 1 and node.node is names[0] else None
    return None
