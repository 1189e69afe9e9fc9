"""The whole audit over records: what is flagged, suggested, counted, and put on the page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from labelspace.agents.audit.page import write_page, write_token_page
from labelspace.agents.audit.run import audit
from labelspace.agents.audit.token_run import audit_tokens
from labelspace.embed import load_embedder
from labelspace.errors import ConfigError, DataError
from labelspace.finetune.linear import LinearHead
from labelspace.records import Record
from labelspace.space import LabelSpace

TOPICS = {
    "fruit": ["apple", "pear", "plum", "cherry", "ripe", "juicy", "orchard"],
    "tools": ["hammer", "saw", "drill", "wrench", "steel", "workshop", "bolt"],
    "sea": ["wave", "harbour", "sail", "tide", "salt", "gull", "anchor"],
}


def records(several: bool = False) -> tuple[list[Record], set[str]]:
    generator = np.random.default_rng(0)
    made, wrong = [], set()
    for at in range(120):
        topic = list(TOPICS)[at % 3]
        text = " ".join(generator.choice(TOPICS[topic], 5)) + f" {at}"
        label = topic
        if at % 20 == 7:
            label = next(name for name in TOPICS if name != topic)
            wrong.add(f"r{at}")
        labels = (label, "long") if several and at % 2 else (label,)
        made.append(Record(id=f"r{at}", text=text + (" very long text" if at % 2 else ""), labels=labels))
    made += [Record(id="blank", text=" ", labels=("fruit",)), Record(id="new", text="apple", labels=None)]
    return made, wrong


@pytest.mark.parametrize("several", [False, True])
def test_planted_errors_are_flagged_and_put_right(several: bool) -> None:
    data, wrong = records(several)
    space = LabelSpace.of([*TOPICS, *(["long"] if several else [])], multi_label=several)
    found = audit(
        data, space, embedder=load_embedder("tfidf"), make_head=lambda: LinearHead(multi_label=several, calibrate=False)
    )
    rows = list(found.rows())
    assert {row["id"] for row in rows[: len(wrong)]} == wrong
    assert (found.report.records, found.report.blank, found.report.unlabelled) == (120, 1, 1)
    flagged = {row["id"] for row in rows if row["flagged"]}
    assert len(flagged & wrong) >= 5
    assert len(flagged - wrong) <= 1
    topic = {f"r{at}": list(TOPICS)[at % 3] for at in range(120)}
    assert all(topic[row["id"]] in row["suggested"] for row in rows[: len(wrong)])
    assert all(("long" in row["suggested"]) == ("long" in row["labels"]) for row in rows[: len(wrong)])
    assert set(rows[0]["evidence"]) == {"classifier", "self_confidence", "neighbours"}
    suspicions = [row["suspicion"] for row in rows]
    assert suspicions == sorted(suspicions, reverse=True)
    page = write_page(data, found, name="toy")
    assert "| blank texts | 1 |" in page
    assert "| sources | toy; no column says more |" in page
    assert "| languages | undecided" in page


def test_given_scores_and_opinions_are_used() -> None:
    data = [Record(id=f"r{at}", text=f"t{at}", labels=("a",)) for at in range(4)]
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.6, 0.4]])
    found = audit(data, LabelSpace.of("ab"), scores=scores, opinions={"judges": {"r2": 0.02}})
    order = [row["id"] for row in found.rows()]
    assert order == ["r2", "r1", "r3", "r0"]
    assert found.report.signals == ("classifier", "judges")
    assert next(found.rows())["evidence"]["judges"] == 0.02


def test_what_costs_money_is_asked_with_the_suspicion_at_hand() -> None:
    data = [Record(id=f"r{at}", text=f"t{at}", labels=("a",)) for at in range(3)]
    seen: list[list[float]] = []

    def ask(records: Any, suspicion: np.ndarray) -> dict[str, dict[str, float]]:
        seen.append(suspicion.tolist())
        return {"judges": {records[int(suspicion.argmax())].id: 0.999}}

    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    found = audit(data, LabelSpace.of("ab"), scores=scores, ask=ask)
    assert seen[0][1] == max(seen[0])
    assert [row["id"] for row in found.rows()][-1] == "r1"


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([("a",), ("b",)], np.full((3, 2), 0.5), "3 by 2, not 2 records by 2 labels"),
        ([("a",), ("b",)], np.array([[0.5, 0.5], [0.9, 0.9]]), "record 1 .* sum to 1.8000"),
        ([("a",), ("z",)], np.full((2, 2), 0.5), "'r1': the label 'z' is not in the space"),
        ([("a",), ("a", "b")], np.full((2, 2), 0.5), "'r1' has 2 labels"),
        ([None, None], np.full((2, 2), 0.5), "no record has a text and labels"),
    ],
)
def test_what_does_not_fit_is_named(labels: Any, scores: Any, message: str) -> None:
    data = [Record(id=f"r{at}", text=f"t{at}", labels=given) for at, given in enumerate(labels)]
    with pytest.raises(DataError, match=message):
        audit(data, LabelSpace.of("ab"), scores=scores)


def test_without_any_signal_there_is_no_audit() -> None:
    with pytest.raises(ConfigError, match="there is no signal; give scores, a classifier"):
        audit([Record(id="r", text="t", labels=("a",))], LabelSpace.of("ab"))


class TwoCorners:
    """Texts of even number in one corner, odd ones in the other."""

    name = "corners"

    def embed(self, texts: Any) -> np.ndarray:
        return np.eye(2, dtype=np.float32)[[int(text[1:]) % 2 for text in texts]]


@pytest.mark.parametrize(("exactly", "flagged"), [(True, {"r0", "r2"}), (False, {"r2"})])
def test_what_the_neighbours_deny_is_no_reason_to_flag(exactly: bool, flagged: set[str]) -> None:
    data = [Record(id=f"r{at}", text=f"t{at}", labels=("b" if at % 2 or at == 2 else "a",)) for at in range(20)]
    scores = np.array([[0.1, 0.9] if at % 2 or at == 0 else [0.9, 0.1] for at in range(20)])  # wrong of r0
    found = audit(data, LabelSpace.of("ab"), scores=scores, embedder=TwoCorners(), exactly=exactly)
    assert {row["id"] for row in found.rows() if row["flagged"]} == flagged


def test_whom_annotators_contradict_is_flagged_without_a_filter() -> None:
    data = [Record(id=f"r{at}", text=f"t{at}", labels=("a",)) for at in range(6)]
    annotations = {f"r{at}": [(who, "b" if at == 3 else "a") for who in "xyz"] for at in range(6)}
    scores = np.tile([0.7, 0.3], (6, 1))
    found = audit(data, LabelSpace.of("ab"), scores=scores, annotations=annotations)
    [worst] = [row for row in found.rows() if row["flagged"]]
    assert (worst["id"], worst["suggested"]) == ("r3", ["b"])
    assert worst["evidence"]["annotators"] < 0.1
    with pytest.raises(ConfigError, match="for one label a text"):
        audit(data, LabelSpace.of("ab", multi_label=True), scores=scores, annotations=annotations)


def test_a_row_that_is_sure_of_its_label_looks_right_by_entropy_too() -> None:
    """cleanlab scores it 0, surely wrong, the limit being 1; the audit's evidence says the limit."""
    data = [Record(id=f"r{at}", text=f"t{at}", labels=("a",)) for at in range(3)]
    scores = np.array([[1.0, 0.0], [0.9, 0.1], [0.2, 0.8]])
    found = audit(data, LabelSpace.of("ab"), scores=scores, score="confidence_weighted_entropy")
    assert found.quality[0] == 1.0 > found.quality[1] > found.quality[2]
    several = audit(data, LabelSpace.of("ab", multi_label=True), scores=scores, score="confidence_weighted_entropy")
    assert several.quality[0] == 1.0 > several.quality[1] > several.quality[2]


def test_the_page_shows_names_that_look_like_html_and_annotators_who_never_differ() -> None:
    data = [Record(id=f"r{at}", text=f"t{at}", labels=("<unk>|x",)) for at in range(4)]
    said = {record.id: [("ann", "<unk>|x"), ("ben", "<unk>|x")] for record in data}
    found = audit(data, LabelSpace.of(["<unk>|x", "b"]), scores=np.tile([0.9, 0.1], (4, 1)), annotations=said)
    page = write_page(data, found, name="toy", annotations=said)
    assert "| &lt;unk>\\|x | 4 | 100.0% |" in page
    assert "1 label with fewer than 10 records: &lt;unk>" in page
    assert "| annotators | 2; two of them agree on 100.0%, always on the same label |" in page


def test_the_page_of_tags_counts_those_that_continue_no_span() -> None:
    tags = [("I-PER", "I-PER", "O", "I-LOC"), ("B-PER", "I-PER", "I-LOC", "I-LOC"), ("B-LOC", "I-LOC", "O", "O")]
    data = [Record(id=str(at), text="a b c d", tokens=tuple("abcd"), tags=some) for at, some in enumerate(tags * 4)]
    scores = np.full((48, 5), 0.2)
    page = write_token_page(data, audit_tokens(data, scores=scores), name="toy")
    assert "- 12 tags I-x after neither B-x nor I-x: strict scores read no span there" in page
    inside_only = [replace(one, tags=tuple(tag.replace("B-", "I-") for tag in one.tags or ())) for one in data]
    assert "I-x" not in write_token_page(
        inside_only, audit_tokens(inside_only, scores=np.full((48, 3), 1 / 3)), name="toy"
    )
