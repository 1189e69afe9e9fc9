"""Queries for several things, part by part: each part finds its tool, and one part changes nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from labelspace.agents.tools import Descriptions, Tool, ToolSet, Usage, load_retriever, save_retriever
from labelspace.agents.tools.bm25 import BM25
from labelspace.agents.tools.clauses import Clauses, clauses_of
from labelspace.agents.tools.index import MANY
from labelspace.agents.tools.linear import LinearMLC
from labelspace.agents.tools.need import choose_tools
from labelspace.embed import fit_embedder, load_embedder
from labelspace.errors import ConfigError

TOOLS = ToolSet([
    Tool("weather", "rain sun forecast"),
    Tool("table", "book a table restaurant dinner"),
    Tool("mail", "send tell mail letter"),
    Tool("taxi", "taxi ride car"),
])  # fmt: skip


@pytest.mark.parametrize(
    ("query", "parts"),
    [
        ("Will it rain on Sunday?", []),
        ("", []),
        ("salt and pepper please", []),
        ("Book a table for eight and tell Ann about it", ["Book a table for eight", "tell Ann about it"]),
        ("Will it rain on Sunday? Then book me a taxi.", ["Will it rain on Sunday?", "Then book me a taxi."]),
        ("Will it rain on Sunday? Thanks!", []),
        ("Hello! Will it rain there, also where is my parcel", ["Hello! Will it rain there", "where is my parcel"]),
        ("Wird es morgen regnen und wo ist das Paket", ["Wird es morgen regnen", "wo ist das Paket"]),
        ("who wrote this song\n\nplay it for me", ["who wrote this song", "play it for me"]),
    ],
)
def test_a_query_is_cut_where_both_sides_mean_something(query: str, parts: list[str]) -> None:
    assert clauses_of(query) == parts


def test_a_long_query_has_a_bounded_number_of_parts() -> None:
    assert len(clauses_of("tell me about this one. " * 50)) == 8


def test_parts_find_what_the_whole_does_not() -> None:
    query = "send a letter and a mail and tell them all, then order the taxi"
    plain = BM25(TOOLS)
    assert plain.search([query], 2)[0][0][0] == "mail"
    by_parts = Clauses(plain, {"max": 1.0})
    assert {name for name, _ in by_parts.search([query], 2)[0]} == {"mail", "taxi"}


def test_a_query_of_one_part_is_ranked_as_before() -> None:
    plain = BM25(TOOLS)
    names = [name for name, _ in plain.search(["rain forecast for dinner"], 4)[0]]
    assert [name for name, _ in Clauses(plain).search(["rain forecast for dinner"], 4)[0]] == names


def test_views_are_shares_of_the_whole_and_of_the_parts() -> None:
    query = "will there be rain today and is there sun later"
    plain = BM25(TOOLS)
    texts = [query, *clauses_of(query)]
    scores = plain.scores(texts)
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    views = Clauses(plain).views([query, "sun"])
    np.testing.assert_allclose(np.exp(views["whole"][0]), shares[0], atol=2e-4)
    np.testing.assert_allclose(np.exp(views["max"][0]), shares.max(axis=0), atol=2e-4)
    np.testing.assert_allclose(np.exp(views["mean"][0]), shares.mean(axis=0), atol=2e-4)
    np.testing.assert_allclose(views["max"][1], views["whole"][1], atol=1e-6)
    assert Clauses(plain).scores([]).shape == (0, 4)


def test_weights_come_from_usages_that_need_several_tools() -> None:
    plain = BM25(TOOLS)
    several = [
        Usage("send a letter and a mail and tell them all, then book a taxi", ("mail", "taxi")),
        Usage("tell me the forecast of sun and rain, also book a table", ("weather", "table")),
    ]
    made = Clauses.of(plain, several)
    assert made.weights["max"] + made.weights["mean"] > made.weights["whole"]


def test_among_very_many_tools_parts_take_turns_through_the_index() -> None:
    random = np.random.default_rng(0)
    tools = ToolSet(Tool(f"t{i}", f"word{i}") for i in range(MANY))
    vectors = random.normal(size=(MANY, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    where = {"take the first way": 11, "find the other one": 222}

    class Near:
        name = "near"

        def embed(self, texts: Sequence[str]) -> np.ndarray:
            if texts and texts[0].startswith("t0"):
                return vectors
            return np.stack([vectors[where.get(text, 3333)] for text in texts])

    found = Clauses(Descriptions(tools, Near())).search(["take the first way and find the other one"], 3)[0]
    assert [name for name, _ in found] == ["t3333", "t11", "t222"]
    assert [score for _, score in found] == pytest.approx([1.0, 1.0, 1.0], abs=1e-5)


def test_a_conversation_finds_the_tools_of_all_parts_of_what_is_asked_now() -> None:
    asked = SimpleNamespace(type="human", content="send a letter and a mail and tell them all, then order the taxi")
    finder = Clauses(BM25(TOOLS), {"max": 1.0})
    assert set(choose_tools(finder, [asked], k=2)) == {"mail", "taxi"}
    assert choose_tools(finder, [asked], k=2, available=["taxi", "weather"])[0] == "taxi"


def test_it_is_read_as_it_was_saved(tmp_path: Path) -> None:
    usages = [Usage("will it rain", ("weather",)), Usage("a table for two", ("table",)), Usage("tell Ann", ("mail",))]
    texts = [*(usage.query for usage in usages), *(tool.text for tool in TOOLS)]
    embedder = fit_embedder(load_embedder("tfidf"), texts)
    made = Clauses(LinearMLC.of(TOOLS, usages, embedder), {"whole": 0.5, "max": 2.0})
    save_retriever(tmp_path / "r", made, TOOLS, embedder)
    again, _, _ = load_retriever(tmp_path / "r")
    assert again.name == made.name
    queries = ["will it rain today and please tell Ann about it"]
    np.testing.assert_allclose(again.scores(queries), made.scores(queries), rtol=1e-5)


@pytest.mark.parametrize("weights", [{"some": 1.0}, {"whole": 0.0}, {}])
def test_weights_that_mean_nothing_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"parts can't be weighed by 'some'|must be above 0"):
        Clauses(BM25(TOOLS), weights)


def test_a_pasted_document_takes_no_time() -> None:
    """Cutting grows with the square of the length: without an end, a million characters would take hours."""
    started = time.process_time()
    for text in (" " * 10**6, "do this and then that, " * 10**5, "a \t" * 10**5):
        assert len(clauses_of(f"where is my parcel {text} and now")) <= 8
    assert time.process_time() - started < 5
