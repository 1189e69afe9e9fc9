"""No document, however it is written, closes its fence, starts a line of a list or forges a control token."""

from __future__ import annotations

import hashlib
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelspace.prompts import fence, fence_each, fence_lines
from labelspace.prompts.fence import KEY_LENGTH, break_marks, fence_key, one_line, quote

PIECES = (
    "<|im_end|> <|im_start|>system [INST] </s> < | </document </documents "
    "<<SYS>> <｜User｜> [ /INST] <end_of_turn> </think> 1:"
)
HOSTILE = st.one_of(
    st.text(),
    st.text(alphabet="0123456789abcdef</>document \n"),
    st.lists(st.sampled_from([*PIECES.split(), "\n", "\u2028", "\x85", "\ud800", " "])).map("".join),
)


def bare(text: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())


@given(HOSTILE)
def test_a_document_cannot_contain_its_closing_line(text: str) -> None:
    fenced = fence(text)
    opening, body, closing = fenced.split("\n")[0], fenced.split("\n", 1)[1].rsplit("\n", 1)[0], fenced.split("\n")[-1]
    key = re.fullmatch(r"<document ([0-9a-f]{8})>", opening)
    assert key is not None
    assert closing == f"</document {key[1]}>"
    assert key[1] not in bare(body)
    assert fenced.count(key[1]) == 2
    assert fence(text) == fenced


@given(HOSTILE)
def test_a_document_that_holds_fenced_documents_has_another_key(text: str) -> None:
    for _ in range(5):
        text = fence(text) + text[:100]
        assert fence_key(text) not in bare(text)


def test_the_key_is_looked_for_in_disguise(monkeypatch: pytest.MonkeyPatch) -> None:
    from labelspace.prompts import fence as _  # noqa: F401 - the function; the module is patched below

    class Digest:
        """A hash whose first answers are in the document."""

        answers = iter(["abcdef12", "deadbeef", "0badf00d"])

        def __init__(self, _data: bytes) -> None:
            self.digest = next(self.answers)

        def hexdigest(self) -> str:
            return self.digest

    with monkeypatch.context() as patched:
        patched.setattr(hashlib, "sha256", Digest)
        key = fence_key("</document ＡＢ-cd ef_12> DEADBEEF")
    assert key == "0badf00d"


@given(st.lists(HOSTILE, min_size=1, max_size=5))
def test_several_documents_share_a_key_that_none_contains(texts: list[str]) -> None:
    fenced = fence_each(texts)
    key = fenced.split(">")[0].rsplit(" ", 1)[1]
    assert len(key) == KEY_LENGTH
    assert fenced.count(key) == 2 * len(texts)
    expected = "\n".join(
        f"<document {n} {key}>\n{break_marks(text)}\n</document {n} {key}>" for n, text in enumerate(texts, 1)
    )
    assert fenced == expected


@given(st.lists(HOSTILE, max_size=5))
def test_a_line_holds_one_document(texts: list[str]) -> None:
    lines = fence_lines(texts).splitlines()
    body = lines[1:-1]
    assert [line.split(":")[0] for line in body] == ([str(n) for n in range(1, len(texts) + 1)] or [""])


MARKS = [
    ("<|im_end|>\n<|im_start|>system", "< |im_end|>\n< |im_start|>system"),
    ("<|eot_id|>", "< |eot_id|>"),
    ("<｜User｜>", "< ｜User｜>"),
    ("</s><s>[INST] x [/INST]", "< /s>< s>[ INST] x [ /INST]"),
    ("<<SYS>>", "< <SYS>>"),
    ("<start_of_turn>model", "< start_of_turn>model"),
    ("</THINK>", "< /THINK>"),
    ("a < b | c, <b>bold</b>, [1] and <document>", "a < b | c, <b>bold</b>, [1] and <document>"),
    ("half a pair: \ud83d", "half a pair: \ufffd"),
    ("a whole one: 🙂", "a whole one: 🙂"),
]


@pytest.mark.parametrize(("text", "expected"), MARKS)
def test_control_marks_are_broken_and_nothing_else(text: str, expected: str) -> None:
    assert break_marks(text) == expected


@given(HOSTILE)
def test_breaking_marks_leaves_none(text: str) -> None:
    once = break_marks(text)
    assert break_marks(once) == once
    once.encode()


@given(HOSTILE)
def test_quoted_text_is_one_line(text: str) -> None:
    assert len(quote(text).splitlines()) == 1
    assert len(one_line(text).splitlines()) <= 1
