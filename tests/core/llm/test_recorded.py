"""A cassette answers what it holds, under the same key as a server would be asked with."""

from __future__ import annotations

import json
from pathlib import Path

import desk
import pytest

from labelspace.errors import DataError, ModelError
from labelspace.llm import Engine, Request, run
from labelspace.llm.recorded import RecordedModel

CHOICE = Request([{"role": "user", "content": "Wo ist ñ?"}], choices=("a", "b"), temperature=0.0)
SCHEMA = Request(
    [{"role": "user", "content": "x"}], schema={"type": "object", "properties": {}}, top_p=0.5, seed=3, temperature=0.2
)


def ask(model: RecordedModel | str, request: Request) -> str:
    async def work() -> str:
        async with Engine(model, retries=0) as engine:
            return await engine.ask(request, lambda reply: reply.text)

    return run(work())


def test_it_answers_as_a_server_with_the_same_cassette(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text("")
    model = RecordedModel(path)
    lines = []
    for request, reply in ((CHOICE, '{"choice": "b"}'), (SCHEMA, '{"n": 1}')):
        key = desk.key_of(json.loads(model.encode(request)))
        lines.append(json.dumps({"key": key, "reply": reply}))
    path.write_text("\n".join(lines) + "\n")
    model = RecordedModel(path)
    assert len(model) == 2
    with desk.serve(path) as server:
        for request, text in ((CHOICE, "b"), (SCHEMA, '{"n": 1}')):
            assert ask(model, request) == ask(server.url, request) == text
        assert not server.lacked
    assert not model.lacked


def test_what_it_lacks_is_refused_and_named(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text("")
    model = RecordedModel(tmp_path / "c.jsonl")
    with pytest.raises(ModelError, match="no reply for request"):
        ask(model, CHOICE)
    assert len(model.lacked) == 1


@pytest.mark.parametrize("content", ["nonsense", '{"key": "a"}', "[1]"])
def test_a_file_that_is_no_cassette_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text(content)
    with pytest.raises(DataError, match="not a file of recorded replies"):
        RecordedModel(tmp_path / "c.jsonl")
    with pytest.raises(DataError, match="can't be read"):
        RecordedModel(tmp_path / "none.jsonl")
