"""A cascade behind the server: who answers, at what cost, and right answers whatever becomes of the model asked."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import desk
import pytest
from asking import call, counted

from labelspace.agents.labeling.second_opinion import SecondOpinion
from labelspace.cli import main
from labelspace.finetune.cascade import Point, is_sure, save_point
from labelspace.finetune.classifier import HeadClassifier
from labelspace.finetune.store import save_model
from labelspace.serve.cascade import Cascade
from labelspace.serve.client import VLLMClassifier

LIMIT = 0.8
TEXTS = [f"{what} {n}" for n, what in enumerate(["where is my parcel", "zzz qqq", "I want a refund", "hm"] * 4)]


class Always(dict):  # type: ignore[type-arg]
    """A cassette with the same reply to all."""

    reply = ""

    def get(self, _key: Any, _default: Any = None) -> str:
        return self.reply


@pytest.fixture
def asked(tmp_path: Path, classifier: HeadClassifier) -> Iterator[desk.Desk]:
    """A chat server that gives each text the last label of the space."""
    (tmp_path / "empty.jsonl").write_text("")
    with desk.serve(tmp_path / "empty.jsonl") as running:
        running.replies = Always()
        running.replies.reply = classifier.names[-1]
        yield running


Make = Callable[..., Callable[..., Cascade]]


@pytest.fixture
def cascade(tmp_path: Path, classifier: HeadClassifier) -> Make:
    def make(url: str | None, **settings: Any) -> Callable[..., Cascade]:
        journal = tmp_path / "replies.sqlite"
        second = url and SecondOpinion(classifier.space, url, journal=journal, **settings)
        return lambda counts: Cascade(LIMIT, second or None, counts=counts)

    return make


def sure(classifier: HeadClassifier) -> list[bool]:
    found: list[bool] = is_sure(classifier.head.predict_proba(TEXTS), LIMIT).tolist()
    assert 3 < sum(found) < len(TEXTS) - 5
    return found


def test_the_head_where_it_is_sure_and_the_model_where_not(
    start: Any, cascade: Make, asked: desk.Desk, classifier: HeadClassifier
) -> None:
    with start(cascade=cascade(asked.url)) as running:
        status, _, reply = call(running.port, "POST", "/classify", {"input": [*TEXTS, ""]})
        told = counted(running.port)
        client = list(VLLMClassifier(running.address, batch_size=3).predict(TEXTS))
    assert status == 200
    *data, blank = reply["data"]
    for one, known, label in zip(data, sure(classifier), classifier.head.predict(TEXTS), strict=True):
        wanted = (label, "head") if known else (classifier.names[-1], "model")
        assert (one["label"], one["labels"]) == (wanted[0], [wanted[0]])
        assert (one["answered_by"] == "head") == known and one["review"] is None and len(one["probs"]) > 1
    assert blank["status"] == "abstained" and blank["review"] is None
    assert [list(one.labels) for one in client] == [one["labels"] for one in data]
    assert [one.source.get("answered_by", "head") for one in client] == [one["answered_by"] for one in data]
    assert len(asked.answered) == told['labelspace_cascade_total{by="model"}'] == sure(classifier).count(False)
    assert told['labelspace_cascade_total{by="head"}'] == sure(classifier).count(True)


@pytest.mark.parametrize(
    ("settings", "most", "reason"),
    [
        ({"budget": "2 calls"}, 2, "the head is not sure; the budget is spent"),
        ({"per_minute": 3, "clock": lambda: 1.0}, 3, "the head is not sure; too many are asked about in a minute"),
    ],
)
def test_over_budget_the_head_answers_and_says_so(
    start: Any, cascade: Make, asked: desk.Desk, classifier: HeadClassifier, settings: Any, most: int, reason: str
) -> None:
    labels = classifier.head.predict(TEXTS)
    with start(cascade=cascade(asked.url, **settings)) as running:
        found = [call(running.port, "POST", "/classify", {"input": text}) for text in TEXTS]
        told = counted(running.port)
    assert {status for status, _, _ in found} == {200} and len(asked.answered) == most
    unsure = [at for at, known in enumerate(sure(classifier)) if not known]
    for count, at in enumerate(unsure):
        [one] = found[at][2]["data"]
        if count < most:
            assert one["review"] is None and one["label"] == classifier.names[-1]
        else:
            assert (one["review"], one["label"], one["answered_by"]) == (reason, labels[at], "head")
    assert told['labelspace_cascade_total{by="not answered"}'] == len(unsure) - most


def test_a_model_that_is_away_costs_nobody_an_answer_and_is_asked_when_it_is_back(
    start: Any, cascade: Make, asked: desk.Desk, classifier: HeadClassifier, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    now = [0.0]
    made = cascade(f"http://127.0.0.1:{port}/v1#recorded", clock=lambda: now[0], seconds=3.0)
    with start(cascade=made) as running:
        for _ in range(2):
            status, _, reply = call(running.port, "POST", "/classify", {"input": TEXTS})
            assert status == 200
            for one, known, label in zip(reply["data"], sure(classifier), classifier.head.predict(TEXTS), strict=True):
                assert (one["label"], one["answered_by"]) == (label, "head")
                assert known or "the model that is asked does not answer" in one["review"]
        with desk.serve(tmp_path / "empty.jsonl", port) as back:
            back.replies = asked.replies
            now[0] += 60
            status, _, reply = call(running.port, "POST", "/classify", {"input": TEXTS})
            assert status == 200 and len(back.answered) == sure(classifier).count(False)
            assert all(one["review"] is None for one in reply["data"])


def test_without_a_model_a_person_is_told(start: Any, cascade: Make, classifier: HeadClassifier) -> None:
    with start(cascade=cascade(None)) as running:
        _, _, reply = call(running.port, "POST", "/classify", {"input": TEXTS})
        told = counted(running.port)
        client = list(VLLMClassifier(running.address).predict(TEXTS))
    reviews = [one["review"] for one in reply["data"]]
    assert [(one.status, one.reason) for one in client] == [("ok", review) for review in reviews]
    assert reviews == [None if known else "the head is not sure" for known in sure(classifier)]
    assert [one["label"] for one in reply["data"]] == classifier.head.predict(TEXTS)
    assert told['labelspace_cascade_total{by="person"}'] == reviews.count("the head is not sure")


def test_on_the_command_line(
    tmp_path: Path, asked: desk.Desk, classifier: HeadClassifier, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(tmp_path / "m", classifier.head, classifier.space)  # type: ignore[arg-type]
    save_point(tmp_path / "c.json", Point(0.9, 0.999, 0.5, 0.9), classifier.space)
    model, tuned, log = (str(tmp_path / name) for name in ("m", "c.json", "log.jsonl"))
    with pytest.raises(SystemExit) as done:
        main(["serve", model, "--cascade", tuned, "--model", asked.url, "--log", log, "--port", "0", "--check"])
    assert not done.value.code and f"asked 'Where is my parcel?': {classifier.names[-1]}" in capsys.readouterr().err
    [row] = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert row["label"] == classifier.names[-1] and row["source"]["answered_by"] and "text" not in row
    for wrong, message in (
        (["--model", "x:y"], "belong to --cascade"),
        (["--cascade", tuned, "--budget", "5 calls"], "are for the --model that is asked"),
        (["--log-texts"], "say what goes to --log"),
        (["--log", str(tmp_path / "log.txt")], "is a .jsonl file"),
    ):
        with pytest.raises(SystemExit) as done:
            main(["serve", model, *wrong])
        assert done.value.code == 2 and message in capsys.readouterr().err
