"""Retrievers: each by its definition on vectors that can be worked out by hand, and all as classifiers."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from labelspace import Classifier
from labelspace.agents.tools import Tool, Tool2Vec, ToolChooser, ToolSet, Usage, load_retriever, save_retriever
from labelspace.agents.tools.bm25 import BM25, words
from labelspace.agents.tools.cold import ColdStart
from labelspace.agents.tools.compose import compose
from labelspace.agents.tools.fusion import Fusion, fit_weights
from labelspace.agents.tools.index import ExactIndex, ScreenedIndex, make_index
from labelspace.agents.tools.linear import LinearMLC, fit_linear, loss_and_slope
from labelspace.agents.tools.neighbours import Neighbours
from labelspace.agents.tools.retriever import LastSeen, Retriever, Scored
from labelspace.agents.tools.tool2vec import Descriptions
from labelspace.agents.tools.train import STAGES, make_stage, split_usages, train_retriever
from labelspace.embed import fit_embedder, load_embedder
from labelspace.errors import ConfigError, DataError, SpaceError


class Compass:
    """Embeds a number of degrees as a direction; what is no number as north."""

    name = "compass"

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        angles = [math.radians(float(text) if text.lstrip("-").isdigit() else 90) for text in texts]
        return np.array([[math.cos(a), math.sin(a)] for a in angles], np.float32).reshape(len(texts), 2)


TOOLS = ToolSet([Tool("east", "To the east."), Tool("north", "To the north."), Tool("cold", "Not used.")])
USAGES = [Usage("-30", ("east",)), Usage("30", ("east",)), Usage("85", ("north",)), Usage("95", ("north",))]


def test_tool2vec_is_the_mean_of_the_queries() -> None:
    plain = Tool2Vec.of(TOOLS, USAGES, Compass(), normalise=False)
    # cos 30 = 0.866 and cos 5 = 0.996: the means are shorter the less alike the queries are.
    np.testing.assert_allclose(plain.vectors[0], [math.cos(math.radians(30)), 0], atol=1e-6)
    np.testing.assert_allclose(plain.vectors[1], [0, math.cos(math.radians(5))], atol=1e-6)
    unit = Tool2Vec.of(TOOLS, USAGES, Compass())
    np.testing.assert_allclose(unit.vectors[:2], [[1, 0], [0, 1]], atol=1e-6)
    assert unit.known() == {"east": 2, "north": 2, "cold": 0}


def test_dot_products_prefer_tools_whose_queries_are_alike() -> None:
    for normalise, first in ((True, "east"), (False, "north")):
        retriever = Tool2Vec.of(ToolSet(TOOLS.tools[:2]), USAGES, Compass(), normalise=normalise)
        assert retriever.search(["43"], 1)[0][0][0] == first


def test_a_tool_without_usage_falls_back_on_its_description_at_the_usual_length() -> None:
    np.testing.assert_allclose(Tool2Vec.of(TOOLS, USAGES, Compass()).vectors[2], [0, 1], atol=1e-6)
    plain = Tool2Vec.of(TOOLS, USAGES, Compass(), normalise=False)
    usual = (math.cos(math.radians(30)) + math.cos(math.radians(5))) / 2
    np.testing.assert_allclose(plain.vectors[2], [0, usual], atol=1e-6)


def test_tools_come_and_go_without_training() -> None:
    retriever = Tool2Vec.of(TOOLS, USAGES, Compass())
    grown = retriever.with_tool(Tool("west", "To the west."), ["170", "190"])
    assert grown.search(["180"], 1)[0] == [("west", pytest.approx(1.0))]
    np.testing.assert_array_equal(grown.vectors[:3], retriever.vectors)
    retriever.name = "tool2vec-dot"
    assert retriever.with_tool(Tool("up")).without_tool("up").name == "tool2vec-dot"
    shrunk = grown.without_tool("north")
    assert shrunk.tools == ("east", "cold", "west")
    np.testing.assert_array_equal(shrunk.vectors, grown.vectors[[0, 2, 3]])
    with pytest.raises(SpaceError, match="'nort' is not in the space 'tools'; did you mean 'north'"):
        grown.without_tool("nort")
    with pytest.raises(SpaceError, match="same name: 'east' "):
        grown.with_tool(Tool("east"))


def test_bm25_equals_its_formula() -> None:
    tools = ToolSet([Tool("a", "red red fish"), Tool("b", "blue fish")])
    found = BM25(tools, k1=1.2, b=0.75).scores(["a red fish", "nothing", ""])
    mean, idf_one, idf_both = 3.5, math.log(1 + 1.5 / 1.5), math.log(1 + 0.5 / 2.5)

    def part(often: int, length: int, idf: float) -> float:
        return idf * often * 2.2 / (often + 1.2 * (0.25 + 0.75 * length / mean))

    first = part(1, 4, idf_one) + part(2, 4, idf_one) + part(1, 4, idf_both)
    np.testing.assert_allclose(found, [[first, part(1, 3, idf_both)], [0, 0], [0, 0]], rtol=1e-6)


def test_words_lose_their_endings() -> None:
    assert words("Booking flights; cities") == ["book", "flight", "city"]
    assert words("books booked booking") == ["book"] * 3


def test_neighbours_share_out_their_tools() -> None:
    retriever = Neighbours(TOOLS, USAGES, Compass(), k=2, sharpness=10)
    shares = np.exp(retriever.scores(["30"])[0]) - 1e-3
    near = [math.exp(10 * (math.cos(math.radians(d)) - 1)) for d in (0, 55)]
    np.testing.assert_allclose(shares, [near[0] / sum(near), near[1] / sum(near), 0], atol=1e-5)


LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]], np.float32)
WANTED = np.array([[1, 0, 1], [0, 1, 0]], np.float32)


def test_losses_equal_values_computed_by_hand() -> None:
    pairs = zip(LOGITS.ravel().tolist(), WANTED.ravel().tolist(), strict=True)
    bce = sum(math.log(1 + math.exp(z)) - y * z for z, y in pairs)
    assert loss_and_slope(LOGITS, WANTED, "bce")[0] == pytest.approx(bce, rel=1e-6)
    total = math.exp(2) + math.exp(-1) + math.exp(0.5)
    softmax = 2 * math.log(total) - 2.5 + math.log(1 + math.exp(3) + math.exp(1)) - 3
    assert loss_and_slope(LOGITS, WANTED, "softmax")[0] == pytest.approx(softmax, rel=1e-6)


@pytest.mark.parametrize("loss", ["bce", "softmax"])
def test_slopes_are_those_of_the_losses(loss: str) -> None:
    _, slope = loss_and_slope(LOGITS, WANTED, loss)  # type: ignore[arg-type]
    for at in np.ndindex(LOGITS.shape):
        values = []
        for step in (1e-2, -1e-2):
            moved = LOGITS.copy()
            moved[at] += step
            values.append(loss_and_slope(moved, WANTED, loss)[0])  # type: ignore[arg-type]
        assert slope[at] == pytest.approx((values[0] - values[1]) / 2e-2, abs=2e-3)


def test_the_linear_layer_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(60, 4)).astype(np.float32)
    classes = draw.integers(0, 3, 60)
    weights, bias = fit_linear(vectors, np.eye(3, dtype=np.float32)[classes], loss="softmax", strength=1.0, rounds=500)
    reference = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(vectors, classes)
    # Ours pulls on the bias too, scikit-learn's does not.
    assert np.abs(weights - reference.coef_).max() < 0.03
    assert (np.argmax(vectors @ weights.T + bias, axis=1) == reference.predict(vectors)).mean() > 0.95


def test_fused_weights_trust_the_stage_that_is_right() -> None:
    draw = np.random.default_rng(0)
    wanted = np.eye(5, dtype=np.float32)[draw.integers(0, 5, 200)]
    right = (wanted + draw.normal(scale=0.3, size=wanted.shape)).astype(np.float32)
    noise = (100 * draw.normal(size=wanted.shape)).astype(np.float32)
    weights = fit_weights([right, noise], wanted)
    assert weights[0] > 5 and abs(weights[1]) * 100 < 0.3
    with pytest.raises(DataError, match="no usage needs any of these tools"):
        fit_weights([right], np.zeros_like(wanted))


def test_stages_of_a_fusion_rank_the_same_tools() -> None:
    with pytest.raises(ConfigError, match="the stages 'bm25' and 'bm25' rank different tools"):
        Fusion([BM25(TOOLS), BM25(ToolSet(TOOLS.tools[:2]))], [1, 1])


@pytest.mark.parametrize("kind", ["exact", "approximate"])
def test_an_index_finds_the_nearest(kind: str) -> None:
    if kind == "approximate":
        pytest.importorskip("usearch")
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(500, 16)).astype(np.float32)
    index = make_index(vectors, kind)
    for query in draw.normal(size=(5, 16)).astype(np.float32):
        places, scores = index.search(query, 7)
        np.testing.assert_array_equal(places, np.argsort(-(vectors @ query))[:7])
        np.testing.assert_allclose(scores, np.sort(vectors @ query)[::-1][:7], rtol=1e-5)


@pytest.mark.parametrize("kind", ["clustered", "noise", "few axes", "equal", "long and short"])
def test_screening_changes_no_result(kind: str) -> None:
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(50, 64))
    vectors = draw.normal(size=(12_000, 64))
    if kind == "clustered":
        vectors = centres[draw.integers(0, 50, 12_000)] + 0.4 * vectors
    if kind == "few axes":
        vectors[:, 20:] = 0
    if kind == "long and short":
        vectors *= draw.uniform(0.01, 1000, size=(12_000, 1))
    if kind == "equal":
        vectors = np.repeat(vectors[:1], 12_000, axis=0)
    vectors = vectors.astype(np.float32)
    index, plain = make_index(vectors), ExactIndex(vectors)
    assert isinstance(index, ScreenedIndex)
    for query in [*vectors[:10], *draw.normal(size=(10, 64)).astype(np.float32), np.zeros(64, np.float32)]:
        places, scores = index.search(query, 7)
        expected, exact = plain.search(query, 7)
        np.testing.assert_array_equal(places, expected)
        np.testing.assert_array_equal(scores, exact)
        products = vectors.astype(np.float64) @ query.astype(np.float64)
        np.testing.assert_allclose(scores, np.sort(products)[::-1][:7], rtol=1e-5, atol=1e-5)


class Fixed:
    classes_ = ("north", "gone", "east")

    def scores(self, queries: Sequence[str]) -> np.ndarray:
        return np.tile(np.array([[1.0, 9.0, 2.0]], np.float32), (len(queries), 1))


def test_a_scorer_is_lined_up_with_the_tools() -> None:
    np.testing.assert_array_equal(Scored(TOOLS.space, Fixed(), name="x").scores(["a"]), [[2, 1, 0]])
    with pytest.raises(SpaceError, match="was trained on other tools"):
        Scored(ToolSet([Tool("else")]).space, Fixed(), name="x")


SHOP = ToolSet([
    Tool("track_parcel", "Where a parcel is and when it comes."),
    Tool("refund_order", "Pay back the money of an order."),
    Tool("change_address", "Change the address of a customer."),
    Tool("weather", "Forecast of rain and sun for a city."),
])  # fmt: skip
ASKED = {
    "track_parcel": ["where is my parcel", "when does my package come", "track the delivery", "has my order shipped"],
    "refund_order": ["give me my money back", "refund my order", "I was charged twice", "pay back what I paid"],
    "change_address": ["I moved house", "change my address", "new street for deliveries", "update where I live"],
    "weather": ["will it rain", "is it sunny in Rome", "forecast for tomorrow", "do I need an umbrella"],
}
SHOPPING = [Usage(query, (tool,)) for tool, queries in ASKED.items() for query in queries]


def embedder_of(usages: Sequence[Usage]) -> object:
    return fit_embedder(load_embedder("tfidf"), [usage.query for usage in usages] + [tool.text for tool in SHOP])


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_a_classifier_and_is_read_as_it_was_saved(stage: str, tmp_path: Path) -> None:
    embedder = embedder_of(SHOPPING)
    retriever = make_stage(stage, SHOP, SHOPPING, embedder)
    assert isinstance(retriever, Classifier)
    texts = ["where is my parcel", " ", "refund my order"]
    found = list(retriever.predict(texts))
    assert [prediction.record_id for prediction in found] == ["0", "1", "2"]
    assert (found[0].label, found[1].status, found[2].label) == ("track_parcel", "abstained", "refund_order")
    save_retriever(tmp_path / "r", retriever, SHOP, embedder)
    again, tools, chooser = load_retriever(tmp_path / "r")
    assert (again.name, tools.tools, chooser) == (stage, SHOP.tools, None)
    np.testing.assert_array_equal(again.scores(texts), retriever.scores(texts))
    assert retriever.scores([]).shape == (0, len(SHOP))


class Counted(Compass):
    """Says what it was asked to embed."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return super().embed(texts)


@pytest.mark.parametrize("stage", ["descriptions", "tool2vec"])
def test_a_saved_retriever_embeds_queries_alone(stage: str, tmp_path: Path) -> None:
    retriever = make_stage(stage, TOOLS, USAGES, Compass())
    save_retriever(tmp_path, retriever, TOOLS, Compass(), trained="encoder")
    embedder = Counted()
    again, _, _ = load_retriever(tmp_path, load=lambda _: embedder)
    np.testing.assert_array_equal(again.scores(["30"]), retriever.scores(["30"]))
    assert embedder.asked == ["30"]
    (tmp_path / "tools.jsonl").write_text((tmp_path / "tools.jsonl").read_text().splitlines()[0] + "\n")
    with pytest.raises(ConfigError, match="damaged|3 vectors for 1 tools"):
        load_retriever(tmp_path, load=lambda _: embedder)


def test_a_tool_that_nobody_has_used_is_found_by_its_description(tmp_path: Path) -> None:
    usages = [usage for usage in SHOPPING if usage.tools != ("weather",)]
    embedder = embedder_of(SHOPPING)
    retriever = train_retriever(SHOP, usages[::2], usages[1::2], embedder)
    ranked = retriever.search(["forecast of rain for a city", "refund my order"], 1)
    assert [ranking[0][0] for ranking in ranked] == ["weather", "refund_order"]
    save_retriever(tmp_path / "r", retriever, SHOP, embedder)
    again, _, _ = load_retriever(tmp_path / "r")
    texts = ["sun in the city", "where is my parcel"]
    np.testing.assert_allclose(again.scores(texts), retriever.scores(texts), rtol=1e-5)
    assert again.scores([]).shape == (0, 4)


def test_shares_of_unused_tools_are_those_of_the_plain_retriever() -> None:
    trained, plain = Given([[2.0, 0.0, -9.0]]), Given([[0.0, 0.0, 1.0]])
    found = ColdStart(trained, plain, ["cold"]).scores(["?"])[0]
    np.testing.assert_allclose(found[:2], [2, 0])
    share = math.e / (math.e + 2)
    assert math.exp(found[2]) / (math.exp(2) + 1) == pytest.approx(share, rel=1e-5)
    with pytest.raises(ConfigError, match="no tool has any usage"):
        ColdStart(trained, plain, TOOLS.names)


class Given(Retriever):
    """Scores that were given."""

    def __init__(self, rows: list[list[float]]) -> None:
        super().__init__(TOOLS.space)
        self.rows = np.array(rows, np.float32)

    def scores(self, queries: Sequence[str]) -> np.ndarray:
        return self.rows[: len(queries)]


def test_threads_take_turns_at_an_embedder() -> None:
    class Single(Compass):
        busy = 0

        def embed(self, texts: Sequence[str]) -> np.ndarray:
            self.busy += 1
            assert self.busy == 1, "two threads at once"
            time.sleep(0.002)
            self.busy -= 1
            return super().embed(texts)

    retriever = Tool2Vec.of(TOOLS, USAGES, LastSeen(Single()))
    queries = [str(angle) for angle in (0, 90, 5, 85, 10, 80)] * 4
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda query: retriever.search([query], 1)[0][0][0], queries))
    assert found == ["east", "north"] * 12


def test_usage_that_the_embedder_reads_nothing_in_leaves_the_description() -> None:
    embedder = embedder_of(SHOPPING)
    usages = [*SHOPPING[:-4], Usage("ξψω", ("weather",)), Usage("", ("weather",))]
    for normalise in (True, False):
        retriever = Tool2Vec.of(SHOP, usages, embedder, normalise=normalise)  # type: ignore[arg-type]
        assert retriever.search(["forecast of rain and sun"], 1)[0][0][0] == "weather"


def test_a_damaged_retriever_is_said_to_be_one(tmp_path: Path) -> None:
    save_retriever(tmp_path, BM25(SHOP), SHOP, embedder_of(SHOPPING))  # type: ignore[arg-type]
    for text, said in (('{"format": 1}', "is damaged"), ("[]", "of format None can't be read"), ("{", "can't be read")):
        (tmp_path / "retriever.json").write_text(text)
        with pytest.raises(ConfigError, match=said):
            load_retriever(tmp_path)


def test_a_fusion_with_thresholds_is_read_as_it_was_saved(tmp_path: Path) -> None:
    embedder = embedder_of(SHOPPING)
    retriever = train_retriever(SHOP, SHOPPING[::2], SHOPPING[1::2], embedder)
    chooser = ToolChooser.of(retriever, SHOPPING[1::2], coverage=0.6, false_alarms=0.2)
    save_retriever(tmp_path / "r", retriever, SHOP, embedder, chooser=chooser)
    again, _, limits = load_retriever(tmp_path / "r")
    assert limits is not None and limits.thresholds == chooser.thresholds
    np.testing.assert_allclose(again.scores(["track it"]), retriever.scores(["track it"]), rtol=1e-6)


def test_a_folder_without_a_retriever_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no retriever; make one with `labelspace tools train`"):
        load_retriever(tmp_path)


def test_a_stage_that_learns_says_that_there_is_nothing_to_learn_from() -> None:
    with pytest.raises(DataError, match="the stage 'mlc' learns from usage, and there is none; make some with"):
        make_stage("mlc", SHOP, [], embedder_of(SHOPPING))
    with pytest.raises(ConfigError, match="there is no stage 'mcl'; there are: bm25, "):
        make_stage("mcl", SHOP, SHOPPING, embedder_of(SHOPPING))


def test_composed_queries_need_the_tools_of_both() -> None:
    made = compose(SHOPPING, rounds=3, share=0.5, seed=1)
    assert len(made) == 3 * len(SHOPPING)
    pairs = [usage for usage in made if len(usage.tools) == 2]
    assert 12 <= len(pairs) <= 36
    for usage in pairs:
        said = usage.query.casefold()
        assert all(any(query.casefold() in said for query in ASKED[tool]) for tool in usage.tools)
    assert compose(SHOPPING, rounds=3, share=0.5, seed=1) == made
    assert sorted(usage.query for usage in compose(SHOPPING, share=0)) == sorted(usage.query for usage in SHOPPING)


def test_copies_stay_on_one_side_of_a_split() -> None:
    usages = [Usage(f"query {i % 50}", ("weather",)) for i in range(200)]
    train, held = split_usages(usages, share=0.3)
    assert len(train) + len(held) == 200
    assert 20 <= len(held) <= 120
    assert not {usage.query for usage in train} & {usage.query for usage in held}


def test_linear_mlc_ranks_all_tools_of_a_query() -> None:
    usages = [*SHOPPING, Usage("refund my order and will it rain", ("refund_order", "weather"))] * 2
    retriever = LinearMLC.of(SHOP, usages, embedder_of(SHOPPING))  # type: ignore[arg-type]
    top = [name for name, _ in retriever.search(["refund my order and will it rain"], 2)[0]]
    assert set(top) == {"refund_order", "weather"}


def test_descriptions_need_no_usage() -> None:
    assert Descriptions(SHOP, embedder_of(SHOPPING)).search(["sun and rain"], 1)[0][0][0] == "weather"  # type: ignore[arg-type]
