"""Discovery and labeling with a real LLM's recorded replies: from the command line, and a rerun that asks nothing.

The cassette holds what an instruction-tuned LLM answered, once, from the prompts alone. It was recorded over the
first 200 messages of the sample. A changed prompt needs a new recording; the messages of the failing test say so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import desk
import pytest

from labelspace import LabelSpace, evaluate, read_records
from labelspace.cli import main
from labelspace.data import read_predictions, write_rows

CASSETTE = Path(__file__).resolve().parents[1] / "cassettes" / "support.jsonl"
USE_CASE = "Route customer messages to the team that can answer them."


@pytest.fixture(scope="module")
def server() -> Iterator[desk.Desk]:
    with desk.serve(CASSETTE) as server:
        yield server


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(list(arguments))
    return int(done.value.code or 0)


def test_200_messages_are_discovered_and_labelled_and_a_rerun_makes_no_call(
    server: desk.Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, space, labels = (str(tmp_path / name) for name in ("texts.jsonl", "space.yaml", "labels.jsonl"))
    write_rows(
        texts, ({"id": record.id, "text": record.text} for record in islice(read_records("sample:support"), 200))
    )
    model = ("--model", server.url, "--use-case", USE_CASE)

    discover = ("discover", texts, "--out", space, *model)
    label = ("label", texts, "--space", space, "--out", labels, *model)
    assert run(*discover) == 0, server.lacked
    assert run(*label) == 0, server.lacked
    assert not server.lacked, "the prompts have changed since the cassette was recorded"
    assert len(server.answered) == len(set(server.answered)) == len(server.replies) == 204

    made = LabelSpace.load(space)
    assert len(made.leaves) == 20
    assert made.other == "Other"
    report = evaluate(
        read_predictions(labels, space=made), read_records("sample:support.truth", needs_text=False), mode="discovered"
    )
    assert report.rows.scored == 199  # one of the 200 is blank
    assert report.value("nmi") == pytest.approx(0.984, abs=5e-4)
    assert report.value("purity") == 1.0
    rows = [json.loads(line) for line in Path(labels).read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in rows] == [record.id for record in read_records(texts)]
    assert {row["source"]["prompt"] for row in rows} == {"label"}

    first = Path(labels).read_bytes()
    capsys.readouterr()
    assert run(*discover) == 0
    assert run(*label) == 0
    assert len(server.answered) == 204, "a rerun asked again"
    assert Path(labels).read_bytes() == first
