"""Several replies to a text: other orders of the labels, samples, several models; and a number for how sure."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labelspace.agents.labeling.ensemble import Ensemble, own_journal
from labelspace.agents.labeling.form import Answer
from labelspace.agents.labeling.labeler import FITS_NOWHERE, Labeler
from labelspace.agents.labeling.votes import tally
from labelspace.cli import main
from labelspace.data import write_rows
from labelspace.errors import ConfigError, ModelError
from labelspace.llm import Request, ScriptedLLM
from labelspace.records import Prediction, Record
from labelspace.space import Label, LabelSpace

SPACE = LabelSpace.of(["red", "green", "blue"])
TAGS = LabelSpace.of(["red", "green", "blue"], multi_label=True)


def order_of(request: Request) -> list[str]:
    return [line[2:] for line in request.messages[0]["content"].splitlines() if line.startswith("- ")][:3]


def label(replies: Any, texts: Any = ("text",), *, space: LabelSpace = SPACE, **how: Any) -> list[Prediction]:
    return list(Labeler(space, model=ScriptedLLM(replies), concurrency=1, **how).predict(texts))


# -- counting --------------------------------------------------------------------------------------

VOTES = [
    ("the most", [Answer(("a",)), Answer(("b",)), Answer(("b",))], ("b",), 2 / 3),
    ("the first of a draw", [Answer(("a",)), Answer(("b",))], ("a",), 0.5),
    (
        "probabilities, not heads",
        [
            Answer(("a",), scores={"a": 0.4, "b": 0.3}),
            Answer(("a",), scores={"a": 0.4, "b": 0.35}),
            Answer(("b",), scores={"b": 0.9}),
        ],
        ("b",),
        (0.3 + 0.35 + 0.9) / 3,
    ),
    ("none", [Answer((), True), Answer((), True), Answer(("a",))], (), 2 / 3),
    ("none said with a number", [Answer((), True, confidence=0.3), Answer(("a",), scores={"a": 0.8})], ("a",), 0.4),
]


@pytest.mark.parametrize(("_", "votes", "labels", "confidence"), VOTES)
def test_one_label(_: str, votes: list[Answer], labels: tuple[str, ...], confidence: float) -> None:
    found = tally(votes, several=False)
    assert (found.labels, found.none_fits) == (labels, not labels)
    assert found.confidence == pytest.approx(confidence)


def test_several_labels_with_half_of_the_votes() -> None:
    votes = [Answer(("a", "b")), Answer(("a",)), Answer(("a", "c", "b")), Answer((), False)]
    found = tally(votes, several=True)
    assert found.labels == ("a", "b")
    assert dict(found.scores) == {"a": 0.75, "b": 0.5, "c": 0.25}
    assert found.confidence == pytest.approx(0.75 * 0.5 * 0.75)
    assert dict(found.source) == {"votes": 4, "agreement": 0.25}
    assert tally([Answer((), True)] * 2, several=True).none_fits


# -- orders of the labels --------------------------------------------------------------------------


def test_each_label_stands_in_each_place_equally_often() -> None:
    model = ScriptedLLM(lambda request: order_of(request)[0])  # as swayed by the order as can be
    made = list(Labeler(SPACE, model=model, permutations=3).predict([f"text {n}" for n in range(20)]))
    assert len(model.requests) == 60
    assert [one.confidence for one in made] == [pytest.approx(1 / 3)] * 20
    assert {one.label for one in made} == {"red", "green", "blue"}


def test_the_order_is_the_documents_and_the_seeds() -> None:
    def orders(seed: int, text: str) -> str:
        model = ScriptedLLM(lambda _: "red")
        list(
            Labeler(LabelSpace.of([*SPACE.leaves, *"abcdefgh"]), model=model, permutations=4, seed=seed).predict([text])
        )
        return str(sorted(str(order_of(request)) for request in model.requests))

    assert orders(0, "a") == orders(0, "a")
    assert len({orders(seed, text) for seed in range(3) for text in "abc"}) == 9


def test_groups_stay_together_in_every_order() -> None:
    labels = [Label(name=name) for name in ("warm", "cold")]
    labels += [Label(name=f"{group} {n}", parent=group) for group in ("warm", "cold") for n in range(4)]
    model = ScriptedLLM(lambda _: "warm 0")
    list(Labeler(LabelSpace(labels=tuple(labels)), model=model, permutations=5).predict(["x"]))
    for request in model.requests:
        assert request.messages[0]["content"].count("## ") == 2


def test_votes_in_batches_and_a_rerun(tmp_path: Path) -> None:
    how: dict[str, Any] = {"permutations": 3, "batch_documents": 2, "journal": tmp_path / "journal.sqlite"}
    model = ScriptedLLM(lambda _: '{"1": "red", "2": "blue"}')
    made = list(Labeler(SPACE, model=model, **how).predict(["a", "b", "c", "d"]))
    assert len(model.requests) == 6
    assert [(one.label, one.confidence) for one in made] == [("red", 1.0), ("blue", 1.0)] * 2
    assert made[0].source["votes"] == 3
    assert label([], ["a", "b", "c", "d"], **how) == made


def test_a_vote_that_can_not_be_read_does_not_count() -> None:
    def answer(request: Request) -> str:
        return "purple" if order_of(request)[0] == "red" else "blue"

    [made] = label(answer, permutations=3)
    assert (made.label, made.status, made.source["votes"]) == ("blue", "ok", 2)
    [made] = label(lambda _: "purple", permutations=2)
    assert (made.status, made.raw) == ("failed", "purple")


def test_a_stopped_run_counts_only_what_all_have_answered(tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite"
    first = label(lambda _: "red", ["a"], permutations=2, journal=journal)
    made = label([], ["a", "b", ""], permutations=2, journal=journal, closed="the server is away")
    assert made[0].labels == first[0].labels
    assert [one.status for one in made] == ["ok", "failed", "abstained"]


# -- samples ---------------------------------------------------------------------------------------


def test_samples_vote() -> None:
    model = ScriptedLLM(["red", "blue", "blue"])
    [made] = Labeler(SPACE, model=model, samples=3, concurrency=1).predict(["x"])
    assert (made.label, made.confidence) == ("blue", pytest.approx(2 / 3))
    assert {(request.temperature, request.seed) for request in model.requests} == {(1.0, 0), (1.0, 1), (1.0, 2)}


def test_sampled_confidence_is_five_samples() -> None:
    [made] = label(["red", "red", "blue", "red", "green"], confidence="sampled")
    assert (made.label, made.confidence) == ("red", pytest.approx(0.6))


def test_samples_see_the_orders_in_turn() -> None:
    model = ScriptedLLM(lambda _: "red")
    list(Labeler(SPACE, model=model, samples=4, permutations=2, seed=3).predict(["some text"]))
    assert len(model.requests) == 4
    orders = sorted(str(order_of(request)) for request in model.requests)
    assert orders[0] == orders[1]
    assert orders[2] == orders[3]


# -- a number for how sure -------------------------------------------------------------------------

NUMBERS = [
    ('{"label": "red", "confidence": 80}', ("red",), "ok", 0.8),
    ('{"label": "Red", "confidence": "80%"}', ("red",), "ok", 0.8),
    ('{"label": null, "confidence": 60}', (), "abstained", None),
    ('{"label": "red"}', (), "failed", 'lacks "confidence"'),
    ('{"label": "red", "confidence": 180}', (), "failed", "from 0 to 100, not 180"),
    ('{"label": "red", "confidence": true}', (), "failed", "not True"),
    ('{"label": "red", "confidence": "high"}', (), "failed", "not 'high'"),
    ("red", (), "failed", "no JSON object"),
]


@pytest.mark.parametrize(("reply", "labels", "status", "said"), NUMBERS)
def test_a_confidence_in_words(reply: str, labels: tuple[str, ...], status: str, said: Any) -> None:
    model = ScriptedLLM(lambda _: reply)
    [made] = Labeler(SPACE, model=model, confidence="verbal").predict(["x"])
    assert (made.labels, made.status) == (labels, status)
    assert model.requests[0].logprobs == 0
    assert model.requests[0].schema is not None
    assert list(model.requests[0].schema["properties"]) == ["label", "confidence"]
    if status == "failed":
        assert said in str(made.reason)
    else:
        assert made.confidence == said


SHARES = [
    ([("red", 80), ("blue", 30)], ("red",), "ok", 0.8 * 0.7),
    ([("red", 80), ("red", 60), ("green", 50)], ("red", "green"), "ok", 0.8 * 0.5),
    ([("red", 20)], (), "ok", 0.8),
    ([], (), "ok", 1.0),
    ([("none", 90), ("red", 10)], (), "abstained", None),
    ([("none", 90), ("red", 70)], ("red",), "ok", 0.7),
]


@pytest.mark.parametrize(("given", "labels", "status", "confidence"), SHARES)
def test_a_number_for_each_of_several(
    given: list[tuple[str, int]], labels: tuple[str, ...], status: str, confidence: float | None
) -> None:
    reply = json.dumps({"labels": [{"label": name, "confidence": number} for name, number in given]})
    [made] = label(lambda _: reply, space=TAGS, confidence="verbal")
    assert (made.labels, made.status) == (labels, status)
    assert made.confidence == (confidence if confidence is None else pytest.approx(confidence))


@pytest.mark.parametrize("entry", ['"red"', '{"label": "red"}', '{"confidence": 3}', '{"label": "x", "confidence": 3}'])
def test_a_number_must_be_there_for_each(entry: str) -> None:
    [made] = label(lambda _: f'{{"labels": [{entry}]}}', space=TAGS, confidence="verbal")
    assert made.status == "failed"


@pytest.mark.parametrize(
    ("space", "how", "reply", "labels"),
    [
        (
            SPACE,
            {},
            '{"1": {"label": "red", "confidence": 70}, "2": {"label": "blue", "confidence": 60}}',
            ["red", "blue"],
        ),
        (TAGS, {}, '{"1": [{"label": "red", "confidence": 70}], "2": {"labels": []}}', ["red", None]),
        (
            TAGS,
            {"rationale": True},
            '{"1": {"rationale": "r", "labels": [{"label": "red", "confidence": 70}]}, '
            '"2": {"rationale": "", "labels": []}}',
            ["red", None],
        ),
    ],
)
def test_numbers_in_batches(space: LabelSpace, how: Any, reply: str, labels: list[str | None]) -> None:
    model = ScriptedLLM([reply])
    made = list(Labeler(space, model=model, confidence="verbal", batch_documents=2, **how).predict(["a", "b"]))
    assert [one.label for one in made] == labels
    assert made[0].confidence == pytest.approx(0.7)


def test_an_answer_in_a_batch_that_lacks_its_number_is_asked_again_singly() -> None:
    replies = ['{"1": {"label": "red", "confidence": 70}, "2": "blue"}', '{"label": "blue", "confidence": 55}']
    made = label(replies, ["a", "b"], confidence="verbal", batch_documents=2)
    assert [(one.label, one.confidence) for one in made] == [("red", 0.7), ("blue", 0.55)]


# -- several models --------------------------------------------------------------------------------


def ensemble(*replies: Any, space: LabelSpace = SPACE, **how: Any) -> Ensemble:
    return Ensemble([Labeler(space, model=ScriptedLLM(one, name=f"m{n}"), **how) for n, one in enumerate(replies)])


def test_models_vote() -> None:
    made = list(ensemble(lambda _: "red", lambda _: "red", lambda _: "blue").predict(["a", "", "b"]))
    assert [(one.label, one.status) for one in made] == [("red", "ok"), (None, "abstained"), ("red", "ok")]
    assert made[0].confidence == pytest.approx(2 / 3)
    assert made[0].source["model"] == ["m0", "m1", "m2"]
    assert made[0].source["said"] == [["red"], ["red"], ["blue"]]
    assert made[0].source["agreement"] == pytest.approx(2 / 3, abs=1e-4)
    assert made[1].reason == "empty text"


def test_a_model_that_fails_does_not_vote() -> None:
    [made] = ensemble(lambda _: "purple", lambda _: "red", lambda _: "none").predict(["a"])
    assert (made.label, made.confidence, made.source["said"]) == ("red", 0.5, ["failed", ["red"], "abstained"])
    [made] = ensemble(lambda _: "purple", lambda _: "purple").predict(["a"])
    assert made.status == "failed"
    [made] = ensemble(lambda _: "none", lambda _: "none").predict(["a"])
    assert (made.status, made.reason) == ("abstained", FITS_NOWHERE)


def test_models_vote_on_several_labels() -> None:
    [made] = ensemble(lambda _: '{"labels": ["red", "blue"]}', lambda _: '{"labels": []}', space=TAGS).predict(["a"])
    assert made.labels == ("red", "blue")
    assert made.confidence == pytest.approx(0.25)


def test_an_error_of_one_model_ends_the_run() -> None:
    with pytest.raises(ModelError, match="no such model"):
        list(ensemble(lambda _: "red", lambda _: ModelError("no such model")).predict(["a"] * 5))


def test_an_ensemble_has_two_models_and_one_space() -> None:
    with pytest.raises(ConfigError, match="2 models or more, not 1"):
        ensemble(lambda _: "red")
    with pytest.raises(ConfigError, match="same space"):
        Ensemble([Labeler(space, model=ScriptedLLM([])) for space in (SPACE, TAGS)])


def test_each_member_has_a_journal() -> None:
    assert [own_journal("a/j.sqlite", n) for n in range(2)] == ["a/j.sqlite", "a/j-2.sqlite"]
    assert own_journal(None, 1) is None


def test_on_the_command_line(tmp_path: Path, chat_server: Callable[..., str]) -> None:
    said = {"red": "red", "blue": "blue"}
    addresses = [chat_server(lambda body: json.dumps({"choice": "red"})) for _ in range(2)]
    addresses.append(chat_server(lambda body: json.dumps({"choice": said["blue"]})))
    write_rows(tmp_path / "texts.jsonl", ({"id": str(n), "text": f"text {n}", "label": "red"} for n in range(4)))
    SPACE.save(tmp_path / "space.yaml")
    out = tmp_path / "labels.jsonl"
    arguments = ["label", str(tmp_path / "texts.jsonl"), "--space", str(tmp_path / "space.yaml"), "--out", str(out)]
    for address in addresses:
        arguments += ["--model", f"{address}#tiny"]
    for more in ([], ["--candidates", "1"], ["--permutations", "2"], ["--samples", "2"]):
        with pytest.raises(SystemExit) as done:
            main([*arguments, *more])
        assert not done.value.code
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert [row["label"] for row in rows] == ["red"] * 4
        assert [row["confidence"] for row in rows] == [pytest.approx(2 / 3)] * 4, "two of three agree"
        account = json.loads((tmp_path / "labels.jsonl.run.json").read_text())
        assert len(account["engine"]["members"]) == 3
        assert account["settings"]["model"] == [f"{address}#tiny" for address in addresses]
    assert (tmp_path / "labels.jsonl.journal-3.sqlite").exists()
    with pytest.raises(SystemExit) as done:
        main([*arguments, "--dry-run"])
    assert not done.value.code


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"one_token": True, "permutations": 2}, "or permutations"),
        ({"one_token": True, "candidates": 2}, "or candidates"),
        ({"one_token": True, "labelled": [Record("1", "x", ("red",))]}, "or labelled"),
        ({"one_token": True, "descend": True}, "or descend"),
        ({"descend": True}, "one level"),
        ({"samples": 1}, "2 samples"),
        ({"permutations": 0}, "1 order"),
    ],
)
def test_what_does_not_go_together(how: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Labeler(SPACE, model=ScriptedLLM([]), **how)


@pytest.mark.parametrize(
    ("how", "calls"),
    [
        ({"permutations": 3}, 15),
        ({"samples": 2}, 10),
        ({"batch_documents": 2}, 3),
        ({"batch_documents": 2, "permutations": 2}, 6),
        ({"candidates": 1, "permutations": 2}, 5),  # one label has one order
    ],
)
def test_what_is_asked_is_counted_before(how: Any, calls: int) -> None:
    model = ScriptedLLM([])
    assert Labeler(SPACE, model=model, **how).estimate([f"text {n}" for n in range(5)]).calls == calls
    assert model.requests == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--candidates", "3"], "--candidates is for a model"),
        (["--descend"], "--descend is for a model"),
        (["--samples", "3"], "--samples is for a model"),
        (["--model", "none", "--model", "http://127.0.0.1:9/v1#x"], "--model none is no model"),
        (["--model", "http://127.0.0.1:9/v1#x", "--model", "hf:y", "--engine", "ray"], "one model directly"),
        (["--model", "http://127.0.0.1:9/v1#x", "--instructions", "none.yaml"], "can't be read as instructions"),
    ],
)
def test_options_that_do_not_go_together(more: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["label", "sample:support", "--space", "sample:support", "--out", "-", *more])
    assert done.value.code == 2
    assert said in capsys.readouterr().err


def test_embeddings_that_are_not_kept(tmp_path: Path, chat_server: Callable[..., str]) -> None:
    address = chat_server(lambda body: json.dumps({"choice": "red"}))
    write_rows(tmp_path / "texts.jsonl", [{"id": "1", "text": "red rose", "label": "red"}])
    SPACE.save(tmp_path / "space.yaml")
    arguments = ["label", str(tmp_path / "texts.jsonl"), "--space", str(tmp_path / "space.yaml"), "--no-cache"]
    with pytest.raises(SystemExit) as done:
        main([*arguments, "--out", str(tmp_path / "o.jsonl"), "--model", f"{address}#tiny", "--candidates", "2",
              "--examples", str(tmp_path / "texts.jsonl"), "--dry-run"])  # fmt: skip
    assert not done.value.code
