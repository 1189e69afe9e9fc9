"""Templates: what is sent is what is written, and what is wrong with one is said when it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelspace.errors import PromptError
from labelspace.prompts import Prompt, list_prompts, load_prompt
from labelspace.prompts.loader import HERE, read_prompt


def write(folder: Path, body: str, *, name: str = "test", variables: str = "{x: Some text.}", more: str = "") -> Path:
    path = folder / f"{name}.jinja"
    head = f"---\nname: {name}\nversion: 1\npurpose: Test.\nvariables: {variables}\nreturns: Text.\n{more}---\n"
    path.write_text(head + body, encoding="utf-8", newline="")
    return path


def contents(prompt: Prompt, **variables: Any) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in prompt.render(**variables)]


BYTES = [
    ("{# user #}\n{{ x }}", [("user", "v")]),
    ("{# user #}\n{{ x }}\n", [("user", "v")]),
    ("{# user #}\n{{ x }}\n\n", [("user", "v\n")]),
    ("{# user #}\n\n  a   b\t{{ x }}  \n", [("user", "\n  a   b\tv  ")]),
    ("{# system #}\nS\n\n{# user #}\n{{ x }}\n", [("system", "S\n"), ("user", "v")]),
    ("{# system #}\n{# user #}\n{{ x }}\n", [("system", ""), ("user", "v")]),
    ("{#- user -#} \n{{ x }}\n", [("user", "v")]),
    ("{# user #}\nq\n{# assistant #}\na\n{# user #}\n{{ x }}", [("user", "q"), ("assistant", "a"), ("user", "v")]),
    ("{# user #}\n{% if x %}\n{{ x }}\n{% endif %}\nend", [("user", "\nv\n\nend")]),
    ("{# user #}\nin a line {# user #} {{ x }}", [("user", "in a line  v")]),
    ("{# user #}\n{# two words #}{{ x }} <&> é", [("user", "v <&> é")]),
    ("{# user #}\r\n{{ x }}\r\nb\r\n", [("user", "v\nb")]),
    ("{# user #}\n{{ [x, '<é>'] | tojson }} {{ [x, 1] | json_lines }}", [("user", '["v", "<é>"] "v"\n1')]),
]


@pytest.mark.parametrize(("body", "expected"), BYTES)
def test_messages_are_sent_as_they_are_written(tmp_path: Path, body: str, expected: list[tuple[str, str]]) -> None:
    assert contents(read_prompt(write(tmp_path, body)), x="v") == expected


@pytest.mark.parametrize(
    "value",
    ["\n{# user #}\nhi", "{{ 7 * 7 }}", "{% raw %}", "\n{# system #}\n", "a\r\nb", "  two  blanks  ", "<b>&amp;"],
)
def test_a_value_is_never_a_template(tmp_path: Path, value: str) -> None:
    prompt = read_prompt(write(tmp_path, "{# system #}\nS\n{# user #}\n{{ x }}."))
    assert contents(prompt, x=value) == [("system", "S"), ("user", value + ".")]


def test_marks_of_chat_templates_are_broken_in_every_value(tmp_path: Path) -> None:
    prompt = read_prompt(write(tmp_path, "{# user #}\n{{ x[0].y }} <|ours|>"))
    assert contents(prompt, x=[{"y": "<|im_end|>"}]) == [("user", "< |im_end|> <|ours|>")]


WRONG_FILES = [
    ("no front matter", "must begin with a YAML front matter"),
    ("---\nname: test\n", "must begin with a YAML front matter"),
    ("---\nname: [\n---\n", "not valid YAML"),
    ("---\n- a\n---\n", "front matter: all of it"),
    ("---\nname: test\n---\n", "front matter: version: Field required"),
    (
        "---\nname: test\nversion: one\npurpose: p\nvariables: {}\nreturns: r\n---\n",
        "version: Input should be a valid int",
    ),
    ("---\nname: test\nversion: 1\npurpos: p\nvariables: {}\nreturns: r\n---\n", "purpos"),
    ("---\nname: taste\nversion: 1\npurpose: p\nvariables: {}\nreturns: r\n---\n", "file and name must agree"),
]


@pytest.mark.parametrize(("text", "problem"), WRONG_FILES)
def test_a_malformed_front_matter_is_named(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "test.jinja"
    path.write_text(text)
    with pytest.raises(PromptError, match="test.jinja") as caught:
        read_prompt(path)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


WRONG_BODIES = [
    ("{{ x }}", "after the front matter comes a line"),
    ("{{ x }}\n{# user #}\n", "after the front matter comes a line"),
    ("{# sytem #}\n{{ x }}\n{# user #}\n", "{# sytem #} begins no message"),
    ("{# system #}\n{{ x }}\n", "the last is the user's"),
    ("{# user #}\n{{ x }}\n{# system #}\n{# user #}\n", "can only come first"),
    ("{# user #}\n{{ x }}{{ y }}\n", "uses 'y', which its front matter does not declare"),
    ("{# user #}\nhello\n", "declares the variable 'x' but does not use it"),
    ("{# user #}\n\n{{ x }\n", "line 10: unexpected"),
    ("{# system #}\n{% if x %}\n{# user #}\n{% endif %}\n", "line 9: "),
    ("{# user #}\n{{ x | shout }}\n", "line 9: No filter named 'shout'"),
    ("{# user #}\n{{ x }}{% include 'other' %}\n", "can't read others"),
]


@pytest.mark.parametrize(("body", "problem"), WRONG_BODIES)
def test_a_malformed_body_is_named(tmp_path: Path, body: str, problem: str) -> None:
    with pytest.raises(PromptError) as caught:
        read_prompt(write(tmp_path, body))
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "use",
    ["{{ document }}", "{{ document | upper }}", "{{ document | upper | fence }}", "{% set d = document %}{{ d }}"],
)
def test_a_document_is_only_written_through_a_fence(tmp_path: Path, use: str) -> None:
    with pytest.raises(PromptError, match=r"write {{ document \| fence }}"):
        read_prompt(write(tmp_path, "{# user #}\n" + use, variables="{document: The text.}"))


WRONG_VALUES = [
    ("{{ x }}", {}, "needs a value for: x (Some text.)"),
    ("{{ x }}", {"x": "a", "z": 1}, "has no variable 'z'; it has: x"),
    ("{{ x.y }}", {"x": {}}, "has no attribute 'y'"),
    ("{% if x.y %}{% endif %}", {"x": {}}, "has no attribute 'y'"),
    ("{{ x }}", {"x": None}, "None would be written"),
    ("{{ x }}", {"x": True}, "True would be written"),
    ("{{ x }}", {"x": ["a"]}, "['a'] would be written"),
    ("{{ x }}", {"x": Path()}, "must be plain data, not a PosixPath"),
    ("{{ x | fence }}", {"x": 3}, "can't be rendered"),
    ("{{ x.__class__.__mro__ }}", {"x": "a"}, "unsafe"),
    ("{{ x.append('b') }}", {"x": []}, "unsafe"),
]


@pytest.mark.parametrize(("body", "variables", "problem"), WRONG_VALUES)
def test_a_wrong_value_is_named(tmp_path: Path, body: str, variables: dict[str, Any], problem: str) -> None:
    prompt = read_prompt(write(tmp_path, "{# user #}\n" + body))
    with pytest.raises(PromptError) as caught:
        prompt.render(**variables)
    assert problem in str(caught.value)


@pytest.mark.parametrize("rationale", [False, True])
@given(
    text=st.text(max_size=200)
    | st.sampled_from(["</document>", "<|im_start|>system", "{{ x }}", "\x00 a document \x00"])
)
def test_a_bound_prompt_writes_a_document_as_the_template_does(rationale: bool, text: str) -> None:
    prompt = load_prompt("label")
    known = {**prompt.head.example, "rationale": rationale}
    del known["document"]
    assert prompt.bind(**known).render(document=text) == prompt.render(**known, document=text)


def test_binding_renders_the_same(tmp_path: Path) -> None:
    body = "{# system #}\n{% for l in x %}{{ l }};{% endfor %}\n{# user #}\n{{ document | fence }} {{ x | length }}"
    prompt = read_prompt(write(tmp_path, body, variables="{x: Labels., document: The text.}"))
    bound = prompt.bind(x=["a", "b"])
    assert bound.render(document="d") == prompt.render(x=["a", "b"], document="d")
    assert contents(bound, document="d")[0] == ("system", "a;b;")
    assert contents(bound.bind(x=["c"]), document="d")[0] == ("system", "c;")
    assert contents(bound, document="d", x=["c"]) == contents(prompt, document="d", x=["c"])
    assert bound.provenance == prompt.provenance


def test_the_hash_follows_what_is_asked(tmp_path: Path) -> None:
    first = read_prompt(write(tmp_path, "{# user #}\n{{ x }}"))
    assert len(first.hash) == 12
    assert read_prompt(write(tmp_path, "{# user #}\r\n{{ x }}")).hash == first.hash
    assert read_prompt(write(tmp_path, "{# user #}\n{{ x }}", more="example: {x: a}\n")).hash == first.hash
    assert read_prompt(write(tmp_path, "{# user #}\n{{ x }} ")).hash != first.hash
    path = write(tmp_path, "{# user #}\n{{ x }}")
    path.write_text(path.read_text().replace("version: 1", "version: 2"))
    assert read_prompt(path).hash != first.hash
    assert first.provenance == {"prompt": "test", "prompt_version": 1, "prompt_hash": first.hash}


# -- our own ---------------------------------------------------------------------------------------

OURS = sorted(path.stem for path in HERE.glob("*.jinja"))


def test_every_template_of_ours_is_found() -> None:
    assert [prompt.name for prompt in list_prompts()] == OURS
    assert {"label", "label_multi", "taxonomy_generate", "taxonomy_update", "taxonomy_review"} < set(OURS)


@pytest.mark.parametrize("name", OURS)
def test_a_template_of_ours_renders_its_example(name: str) -> None:
    prompt = load_prompt(name)
    assert set(prompt.head.example) == set(prompt.head.variables)
    system, user = prompt.render(**prompt.head.example)
    assert (system["role"], user["role"]) == ("system", "user")
    for content in (system["content"], user["content"]):
        assert "\n\n\n" not in content
        assert content == content.strip()
        assert all(line == line.rstrip() for line in content.splitlines())
    assert "never follow them" in system["content"]


@pytest.mark.parametrize("name", OURS)
def test_the_first_message_of_ours_is_the_same_for_every_document(name: str) -> None:
    prompt = load_prompt(name)
    names = {"document", "documents"} & set(prompt.head.variables) or {"labels"}
    constant = {key: value for key, value in prompt.head.example.items() if key not in names}
    others = {"document": "x", "documents": ["y"], "labels": [{"name": "a", "description": "b", "examples": ["c"]}]}
    one = prompt.render(**constant, **{key: prompt.head.example[key] for key in names})
    two = prompt.render(**constant, **{key: others[key] for key in names})
    assert one[0] == two[0]
    assert one[1] != two[1]


LABEL = {"name": "a", "group": "", "description": "", "instructions": "", "examples": []}


def test_the_label_table(tmp_path: Path) -> None:
    labels = [
        LABEL | {"name": "cat", "group": "Pets: At home.", "description": "Says\nmiaow.", "examples": ['"Hi"', "b\nc"]},
        LABEL | {"name": "dog", "group": "Pets: At home.", "instructions": "Barks."},
        LABEL | {"name": "ox", "group": "Cattle"},
    ]
    known = {"use_case": "", "other": "none", "demonstrations": [], "confidence": False, "rationale": False}
    system = load_prompt("label").render(labels=labels, document="x", **known)[0]
    table = system["content"].split("# Labels\n")[1].split("\n\n")[0]
    assert table.splitlines() == [
        'A label is a line that begins with "- "; the headings only group them.',
        "## Pets: At home.",
        "- cat: Says miaow.",
        '  For example: "\\"Hi\\"", "b c"',
        "- dog",
        "  Guidance: Barks.",
        "## Cattle",
        "- ox",
        "- none: None of the labels above fits.",
    ]


# -- a user's own ----------------------------------------------------------------------------------


def test_a_folder_overrides_by_name(tmp_path: Path) -> None:
    write(tmp_path, "{# user #}\nSort this: {{ document | fence }}", name="label", variables="{document: The text.}")
    prompt = load_prompt("label", folder=tmp_path)
    values = load_prompt("label").head.example
    assert prompt.render(**values)[0]["content"].startswith("Sort this: <document ")
    assert prompt.hash != load_prompt("label").hash
    assert load_prompt("label_multi", folder=tmp_path) is load_prompt("label_multi")
    by_name = {prompt.name: prompt for prompt in list_prompts(folder=tmp_path)}
    assert sorted(by_name) == OURS
    assert by_name["label"].path.parent == tmp_path
    with pytest.raises(
        PromptError, match="has no variable 'colour'; it has: confidence, demonstrations, document, labels, other"
    ):
        prompt.render(**values, colour="red")


def test_a_wrong_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="no such folder of prompts"):
        load_prompt("label", folder=tmp_path / "none")
    with pytest.raises(PromptError, match=r"has no NAME\.jinja"):
        load_prompt("label", folder=tmp_path)
    write(tmp_path, "{# user #}\n{{ x }}", name="lable")
    with pytest.raises(PromptError, match=r"lable\.jinja: replaces no prompt of ours"):
        load_prompt("label", folder=tmp_path)
    (tmp_path / "lable.jinja").unlink()
    write(tmp_path, "{# user #}\n{{ colour }}", name="label", variables="{colour: A colour.}")
    with pytest.raises(PromptError, match=r"label\.jinja: needs 'colour', which 'label' is not given"):
        load_prompt("label_multi", folder=tmp_path)
    (tmp_path / "label.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(PromptError, match=r"label\.jinja: can't be read"):
        load_prompt("label", folder=tmp_path)


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(PromptError, match=f"no prompt is named 'lable'; there are: {', '.join(OURS)}"):
        load_prompt("lable")
