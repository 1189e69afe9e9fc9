"""Clusters named by a model: what it is shown, what is sent back, and what is done where it gives no name."""

from __future__ import annotations

import json

import numpy as np
import pytest

from labelspace.agents.clustering.cluster import discover_clusters
from labelspace.agents.discover import discover
from labelspace.agents.taxonomy.naming import ModelNamer
from labelspace.agents.taxonomy.settings import TaxonomySettings
from labelspace.errors import ConfigError
from labelspace.llm import Request, ScriptedLLM

TEXTS = [
    f"the {what} {number} is {state}"
    for what, state in (("card", "declined"), ("parcel", "late"))
    for number in range(15)
]
LABELS = np.repeat([0, 1], 15)
VECTORS = np.repeat(np.eye(2, 4, dtype=np.float32), 15, axis=0)


def answer(name: str, description: str = "What it is about.") -> str:
    return json.dumps({"name": name, "description": description})


def about(request: Request) -> str:
    return "card" if "the card" in request.messages[1]["content"] else "parcel"


def test_each_cluster_is_named_from_its_texts() -> None:
    model = ScriptedLLM(
        lambda request: answer(f"{about(request)} trouble".capitalize(), f"All on the {about(request)}.")
    )
    named = ModelNamer(model, TaxonomySettings(use_case="Sort mail."))(TEXTS, VECTORS, LABELS)
    assert [(one.name, one.description) for one in named] == [
        ("Card trouble", "All on the card."),
        ("Parcel trouble", "All on the parcel."),
    ]
    assert len(model.requests) == 2
    shown = model.requests[0].messages[1]["content"]
    assert "Telling words: " in shown and "Neighbouring clusters: " in shown
    assert shown.count("the card") == 15
    assert "Sort mail." in model.requests[0].messages[0]["content"]
    assert all(one.examples and one.terms for one in named)


def test_a_bad_name_is_sent_back_warmer() -> None:
    replies = {
        "card": [answer("Miscellaneous"), answer("Card"), answer("Card")],
        "parcel": [answer("x " * 20), answer("Parcel")],
    }
    model = ScriptedLLM(lambda request: replies[about(request)].pop(0))
    named = ModelNamer(model)(TEXTS, VECTORS, LABELS)
    assert [one.name for one in named] == ["Card", "Parcel"]
    again = [request for request in model.requests if request.temperature == 0.1]
    assert len(again) == 2
    said = " ".join(request.messages[-1]["content"] for request in again)
    assert "'Miscellaneous' says nothing of the documents" in said
    assert "has 20 words" in said


def test_clusters_with_one_name_are_asked_again_with_their_neighbours() -> None:
    def reply(request: Request) -> str:
        told = 'Neighbouring clusters: ["Trouble"]' in request.messages[1]["content"]
        return answer(f"{about(request)} trouble" if told else "Trouble")

    model = ScriptedLLM(reply)
    named = ModelNamer(model)(TEXTS, VECTORS, LABELS)
    assert [one.name for one in named] == ["Trouble", "parcel trouble"]
    assert len(model.requests) == 3


def test_without_a_name_of_its_own_a_cluster_keeps_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    plain = ModelNamer(ScriptedLLM(lambda _: "no"), TaxonomySettings(retries=1))(TEXTS, VECTORS, LABELS)
    assert [one.name for one in plain] == ["Card declined", "Parcel late"] or all(one.name for one in plain)
    same = ModelNamer(ScriptedLLM(lambda _: answer("Trouble")))(TEXTS, VECTORS, LABELS)
    assert same[0].name == "Trouble"
    assert same[1].name == plain[1].name
    assert "1 clusters got no name of their own" in capsys.readouterr().err
    taken = ModelNamer(ScriptedLLM(lambda _: answer("Trouble")))(
        TEXTS, VECTORS, LABELS, taken=["trouble", plain[0].name]
    )
    assert len({one.name for one in taken}) == 2
    assert "Trouble" not in {one.name for one in taken}


def test_discovery_names_clusters_and_groups_by_the_model() -> None:
    count = iter(range(1000))
    model = ScriptedLLM(lambda _: answer(f"Name {next(count)}"))
    space = discover(TEXTS, model=model, method="clusters", max_labels=2)
    assert set(space.leaves) <= {f"Name {n}" for n in range(10)}
    plain = discover(TEXTS, max_labels=2)
    assert len(plain.leaves) == 2 and not set(plain.leaves) & {f"Name {n}" for n in range(10)}
    found = discover_clusters(TEXTS, max_labels=2, namer=ModelNamer(ScriptedLLM(lambda r: answer(about(r)))))
    assert set(found.labels) <= set(found.space.leaves)
    with pytest.raises(ConfigError, match="leave out start and candidates"):
        discover(TEXTS, model=model, method="clusters", candidates=2)
