"""Trained stages of tool retrieval, each against a computation of its own: by hand, in NumPy, or by definition."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from click.testing import CliRunner

from labelspace.agents.tools import Scored, Tool, ToolSet, Usage, load_retriever, write_usages
from labelspace.agents.tools.bm25 import BM25
from labelspace.agents.tools.clauses import Clauses
from labelspace.agents.tools.compose import compose
from labelspace.agents.tools.refine import Refined
from labelspace.agents.tools.tuned import tuned_mlc
from labelspace.cli.tools import command as tools_command
from labelspace.errors import ConfigError, DataError
from labelspace.finetune.tools.head import CosineHead, bce_loss, softmax_loss
from labelspace.finetune.tools.load import load_trained
from labelspace.finetune.tools.mlc import DEFAULTS, ToolMLC
from labelspace.finetune.tools.refiner import ToolRefiner, candidates_of
from labelspace.finetune.tools.refiner_model import RefinerModel, alone_of
from labelspace.finetune.tools.triplets import QueryEncoder, Triplet, mine_triplets, triplet_loss
from labelspace.finetune.train_settings import TrainSettings

WORDS = [
    "rain",
    "sun",
    "parcel",
    "late",
    "money",
    "refund",
    "street",
    "moved",
    "please",
    "my",
    "the",
    "is",
    "and",
    "also",
]
TOOLS = ToolSet([Tool("weather", "rain sun"), Tool("parcel", "parcel late"), Tool("pay", "money refund"),
                 Tool("move", "street moved")])  # fmt: skip
USAGES = [
    Usage(f"{extra} {word} {more}", (tool,))
    for tool, pair in zip(TOOLS.names, [WORDS[0:2], WORDS[2:4], WORDS[4:6], WORDS[6:8]], strict=True)
    for word in pair
    for extra in ("please", "my", "the")
    for more in ("is", "please")
]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two narrow layers with random weights, and a tokenizer of a few words."""
    folder = tmp_path_factory.mktemp("tiny")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", ".", *WORDS]
    transformers.BertTokenizer(vocab={word: i for i, word in enumerate(words)}).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=7 + len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=40, initializer_range=0.3,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    return folder


LOGITS = [[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]]
WANTED = [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]


def test_losses_equal_values_computed_by_hand() -> None:
    logits, wanted = torch.tensor(LOGITS), torch.tensor(WANTED)
    rows = [
        sum(math.log(1 + math.exp(z)) - y * z for z, y in zip(row, want, strict=True))
        for row, want in zip(LOGITS, WANTED, strict=True)
    ]
    assert float(bce_loss(logits, wanted)) == pytest.approx(sum(rows) / 2, rel=1e-6)
    first = 2 * math.log(math.exp(2) + math.exp(-1) + math.exp(0.5)) - 2.5
    second = math.log(1 + math.exp(3) + math.exp(1)) - 3
    assert float(softmax_loss(logits, wanted)) == pytest.approx((first + second) / 2, rel=1e-6)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_the_softmax_form_is_what_transformers_computes_for_integer_targets() -> None:
    config = transformers.DebertaV2Config(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=5,
        position_buckets=4, max_relative_positions=8, relative_attention=True, pos_att_type=["p2c", "c2p"],
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.DebertaV2ForSequenceClassification(config).eval()
    ids = torch.randint(0, 20, (3, 6))
    wanted = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 1, 1]])
    with torch.no_grad():
        given = model(ids, labels=wanted)
    assert float(given.loss) == pytest.approx(float(softmax_loss(given.logits, wanted)), rel=1e-6)


def test_a_perfect_answer_reaches_zero() -> None:
    wanted = torch.tensor([[0.0, 1.0, 0.0]])
    assert float(bce_loss(100 * (2 * wanted - 1), wanted)) == pytest.approx(0, abs=1e-6)
    assert float(softmax_loss(100 * wanted, wanted)) == pytest.approx(0, abs=1e-6)


def test_the_head_starts_at_the_cosine() -> None:
    head = CosineHead(torch.tensor([[3.0, 0.0], [0.0, 0.5]]), scale=10, bias=-2)
    found = head(torch.tensor([[1.0, 1.0], [0.0, 7.0]]))
    np.testing.assert_allclose(found.detach(), [[10 * math.sqrt(0.5) - 2] * 2, [-2, 8]], rtol=1e-5)


def test_a_tuned_encoder_learns_and_is_read_as_it_was_saved(tiny: Path, tmp_path: Path) -> None:
    seen = compose(USAGES, rounds=30, seed=0)
    settings = DEFAULTS.model_copy(update={"epochs": 1, "batch_size": 8, "learning_rate": 5e-3})
    model = ToolMLC(tiny, training=settings, freeze_tokens=False)
    model.fit([u.query for u in seen], [u.tools for u in seen], classes=TOOLS.names)
    retriever = Scored(TOOLS.space, model, name="tuned")
    queries = ["the late parcel", "my street moved", "rain and also money"]
    tops = [[name for name, _ in ranking] for ranking in retriever.search(queries, 2)]
    assert (tops[0][0], tops[1][0]) == ("parcel", "move")
    assert "pay" in tops[2]
    model.save(tmp_path / "m")
    again = ToolMLC.load(tmp_path / "m")
    np.testing.assert_array_equal(again.scores(queries), model.scores(queries))
    assert again.version == model.version
    vectors = model.embed(queries)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(model.scores_of(vectors), model.scores(queries), rtol=1e-4, atol=1e-4)


def test_further_usages_are_seen_as_often_as_they_come_with_some_tokens_hidden(tiny: Path, tmp_path: Path) -> None:
    made = []
    for hidden in (0.0, 0.5):
        model = tuned_mlc(str(tiny), TOOLS, USAGES, tmp_path / f"{hidden}", rounds=2, share=0.0, more=USAGES[:2] * 3,
                          token_dropout=hidden, training=DEFAULTS.model_copy(update={"batch_size": 4}))  # fmt: skip
        assert model.history_.texts == 2 * len(USAGES) + 6
        made.append(ToolMLC.load(tmp_path / f"{hidden}"))
    assert [model.token_dropout for model in made] == [0.0, 0.5]
    assert made[0].version != made[1].version


def test_a_tool_without_queries_starts_at_its_description(tiny: Path) -> None:
    model = ToolMLC(tiny, training=DEFAULTS.model_copy(update={"epochs": 0}))
    some = [usage for usage in USAGES if usage.tools != ("move",)]
    texts = [tool.description for tool in TOOLS]
    model.fit([u.query for u in some], [u.tools for u in some], classes=TOOLS.names, texts=texts)
    scores = model.scores(["street moved"])[0]
    assert scores.argmax() == 3
    assert scores[3] == pytest.approx(20 - 5, abs=1e-3)


@pytest.mark.parametrize(
    ("queries", "tools", "message"),
    [
        ([], [], "there are 0 queries but tools for 0"),
        (["a"], [["wether"]], "'wether' is not among the 4 tools"),
    ],
)
def test_what_can_not_be_learnt_is_refused(
    tiny: Path, queries: list[str], tools: list[list[str]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        ToolMLC(tiny).fit(queries, tools, classes=TOOLS.names)


# -- triplets ------------------------------------------------------------------------------------------


def test_triplets_are_the_nearest_of_each_kind() -> None:
    angles = np.radians([0, 10, 20, 40, 50])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    needs = [("a",), ("b",), ("a", "c"), ("b", "c"), ("a",)]
    found = mine_triplets(vectors, needs, near=4, each=2)
    assert [t for t in found if t.anchor == 0] == [Triplet(0, 2, 1), Triplet(0, 4, 3)]
    assert [t for t in found if t.anchor == 3] == [Triplet(3, 2, 4), Triplet(3, 1, 0)]
    own = mine_triplets(vectors, needs, near=4, each=2, with_itself=True)
    assert [t for t in own if t.anchor == 0] == [Triplet(0, 0, 1), Triplet(0, 2, 3)]


def test_the_triplet_loss_is_that_of_torch_and_by_hand() -> None:
    a, p, n = (
        torch.tensor([[0.0, 0.0], [0.0, 0.0]]),
        torch.tensor([[3.0, 4.0], [1.0, 0.0]]),
        torch.tensor([[0.0, 2.0], [0.0, 9.0]]),
    )
    # |a-p| - |a-n| + 1: 5 - 2 + 1 = 4, and 1 - 9 + 1 < 0.
    assert float(triplet_loss(a, p, n)) == pytest.approx(2.0, abs=1e-5)
    draw = torch.randn(3, 20, 8)
    assert float(triplet_loss(*draw)) == pytest.approx(float(torch.nn.TripletMarginLoss()(*draw)), rel=1e-6)


def test_an_encoder_learns_from_triplets_and_is_read_as_it_was_saved(tiny: Path, tmp_path: Path) -> None:
    encoder = QueryEncoder(tiny, training=TrainSettings(epochs=12, batch_size=48, learning_rate=5e-3))
    queries, needs = [usage.query for usage in USAGES], [usage.tools for usage in USAGES]

    def gap() -> float:
        vectors = encoder.embed(queries)
        same = np.array([[a == b for b in needs] for a in needs])
        similar = vectors @ vectors.T
        return float(similar[same].mean() - similar[~same].mean())

    before = gap()
    encoder.fit(queries, needs, near=40)
    assert gap() > before + 0.2
    assert encoder.losses_[-1] < encoder.losses_[0]
    encoder.save(tmp_path / "e")
    again = QueryEncoder.load(tmp_path / "e")
    np.testing.assert_array_equal(again.embed(queries), encoder.embed(queries))
    assert again.version == encoder.version


# -- the refiner -----------------------------------------------------------------------------------------


def refer(model: RefinerModel, ids: np.ndarray, tools: np.ndarray) -> np.ndarray:
    """The forward pass of one query, without padding, in NumPy."""
    weights = {name: value.detach().numpy().astype(np.float64) for name, value in model.state_dict().items()}

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    table = "encoder.embeddings."
    words = weights[table + "word_embeddings.weight"][ids] + weights[table + "token_type_embeddings.weight"][0]
    words = norm(words + weights[table + "position_embeddings.weight"][: len(ids)], table + "LayerNorm")
    x = words
    for layer in range(2):
        if layer == model.alone:
            x = np.concatenate([x, linear(tools, "project")])
        at = f"encoder.encoder.layer.{layer}."
        q, k, v = (linear(x, f"{at}attention.self.{part}") for part in ("query", "key", "value"))
        heads = []
        for head in range(2):
            cut = slice(8 * head, 8 * head + 8)
            weight = np.exp(q[:, cut] @ k[:, cut].T / math.sqrt(8))
            heads.append(weight / weight.sum(axis=1, keepdims=True) @ v[:, cut])
        x = norm(
            x + linear(np.concatenate(heads, axis=1), f"{at}attention.output.dense"), f"{at}attention.output.LayerNorm"
        )
        inner = linear(x, f"{at}intermediate.dense")
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        x = norm(x + linear(inner, f"{at}output.dense"), f"{at}output.LayerNorm")
    found = linear(x[len(ids) :], "score")[:, 0]
    if model.scale is None:
        return found
    query = x[: len(ids)].mean(axis=0)
    cosines = tools @ query / np.linalg.norm(tools, axis=1) / np.linalg.norm(query)
    return found + weights["scale"] * cosines


def model_of(tiny: Path, width: int = 5, *, alone: int = 0, cosine: bool = False) -> RefinerModel:
    torch.manual_seed(1)
    encoder = transformers.BertModel.from_pretrained(tiny, add_pooling_layer=False)
    return RefinerModel(encoder, tool_width=width, alone=alone, cosine=cosine).eval()


@pytest.mark.parametrize(("alone", "cosine"), [(0, False), (1, False), (1, True)])
def test_the_refiner_equals_a_reference_computation(tiny: Path, alone: int, cosine: bool) -> None:
    model = model_of(tiny, 16, alone=alone, cosine=cosine)
    torch.nn.init.normal_(model.score.weight)
    draw = np.random.default_rng(0)
    ids, tools = [2, 8, 9, 3], draw.normal(size=(6, 16)).astype(np.float32)
    with torch.no_grad():
        found = model(torch.tensor([ids]), torch.ones(1, 4), torch.from_numpy(tools)[None], torch.ones(1, 6))[0]
    np.testing.assert_allclose(found.numpy(), refer(model, np.array(ids), tools), rtol=1e-4, atol=1e-5)


def test_neither_padding_nor_order_of_candidates_matters(tiny: Path) -> None:
    model = model_of(tiny)
    tools = torch.randn(1, 6, 5)
    ids, mask = torch.tensor([[2, 8, 9, 3]]), torch.ones(1, 4)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    with torch.no_grad():
        plain = model(ids, mask, tools, torch.ones(1, 6))
        shuffled = model(ids, mask, tools[:, order], torch.ones(1, 6))
        padded = model(
            torch.tensor([[2, 8, 9, 3, 0, 0]]),
            torch.tensor([[1, 1, 1, 1, 0, 0.0]]),
            torch.cat([tools, 100 * torch.ones(1, 2, 5)], dim=1),
            torch.tensor([[1, 1, 1, 1, 1, 1, 0, 0.0]]),
        )
    np.testing.assert_allclose(shuffled, plain[:, order], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(padded[:, :6], plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("width", "settings", "message"),
    [(16, {"alone": 2}, "can't join a 'bert' model of 2 layers after 2"), (5, {"cosine": True}, "have no cosine")],
)
def test_what_does_not_fit_the_encoder_is_refused(
    tiny: Path, width: int, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        model_of(tiny, width, **settings)


def test_the_last_layers_of_an_encoder_with_positions_of_its_own_are_left_to_candidates(tiny: Path) -> None:
    assert (alone_of(tiny), alone_of(tiny, joined=1)) == (0, 1)
    with pytest.raises(ConfigError, match="can't be loaded"):
        alone_of(tiny / "nowhere")


def test_candidates_do_not_show_their_rank() -> None:
    first = np.array([[0.1, 0.9, 0.5, 0.7]], np.float32)
    assert candidates_of(first, 3).tolist() == [[1, 2, 3]]
    assert candidates_of(first, 9).tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("settings", [{"layers": 1}, {"alone": 1, "cosine": True}])
def test_a_refiner_mends_a_first_stage_and_is_read_as_it_was_saved(
    tiny: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    draw = np.random.default_rng(0)
    queries, needs = [u.query for u in USAGES], [u.tools for u in USAGES]
    first = draw.normal(size=(len(USAGES), 4)).astype(np.float32)  # a first stage that knows nothing
    training = TrainSettings(epochs=160, batch_size=48, learning_rate=1e-2, schedule="constant")
    refiner = ToolRefiner(tiny, **settings, training=training)
    refiner.fit(queries, needs, first=first, vectors=np.eye(4, 16, dtype=np.float32), classes=TOOLS.names)
    found = refiner.refine(queries, first)
    right = np.mean([TOOLS.names[i] in need for i, need in zip(found.argmax(axis=1), needs, strict=True)])
    assert right > 0.9
    refiner.save(tmp_path / "r")
    again = ToolRefiner.load(tmp_path / "r")
    np.testing.assert_allclose(again.refine(queries, first), found, rtol=1e-5)
    retriever = Refined(BM25(TOOLS), refiner)
    assert retriever.search(["late late parcel"], 1)[0][0][0] == "parcel"
    with pytest.raises(ConfigError, match="trained on other tools"):
        Refined(BM25(ToolSet(TOOLS.tools[:2])), refiner)


def test_tools_that_are_no_candidates_keep_their_order() -> None:
    class Two:
        classes_ = TOOLS.names

        def refine(self, queries: list[str], first: np.ndarray) -> np.ndarray:
            return np.array([[-9.0, -np.inf, -8.0, -np.inf]], np.float32)

    names = [name for name, _ in Refined(BM25(TOOLS), Two()).search(["street moved"], 4)[0]]
    assert names == ["pay", "weather", "move", "parcel"]


def test_weights_keep_a_refiner_that_is_wrong_from_deciding() -> None:
    class Wrong:
        classes_ = TOOLS.names

        def refine(self, queries: list[str], first: np.ndarray) -> np.ndarray:
            found = -first.astype(np.float32)
            found[:, 3] = -np.inf
            return found

    usages = [Usage("rain", ("weather",)), Usage("late parcel", ("parcel",)), Usage("money", ("pay",))]
    made = Refined.of(BM25(TOOLS), Wrong(), usages)
    assert made.weights[1] == 0
    assert [ranking[0][0] for ranking in made.search([usage.query for usage in usages], 1)] == [
        "weather",
        "parcel",
        "pay",
    ]
    assert made.search(["street"], 4)[0][-1][0] == "move", "what is no candidate comes last"


def test_frozen_layers_stay_as_they_are(tiny: Path) -> None:
    training = TrainSettings(epochs=1, batch_size=8, learning_rate=1e-3)
    encoder = QueryEncoder(tiny, freeze_layers=5, training=training)
    before = {name: value.clone() for name, value in encoder._model.state_dict().items()}
    encoder.fit([usage.query for usage in USAGES], [usage.tools for usage in USAGES], each=1)
    changed = {name for name, value in encoder._model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(".layer.1." in name for name in changed)


def test_everything_that_can_be_tuned_is_trained_and_found_again(tiny: Path, tmp_path: Path) -> None:
    tools, usage, out = tmp_path / "tools.jsonl", tmp_path / "usage.jsonl", tmp_path / "retriever"
    TOOLS.save(tools)
    write_usages(usage, [*USAGES, *(replace(one, query=f"is {one.query}") for one in USAGES)])
    command = ["train", tools, usage, "--out", out, "--stage", "tool2vec", "--stage", "nearest", "--parts"]
    command += [part for name in ("--tune", "--triplets", "--refine") for part in (name, tiny)]
    for _ in range(2):
        result = CliRunner().invoke(tools_command, [str(part) for part in command], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert result.output.count("fine-tuned before, kept") == 3
    other = CliRunner().invoke(tools_command, [str(part) for part in [*command, "--seed", "1"]])
    assert "was fine-tuned on other tools or usages" in str(other.exception)
    retriever, _, _ = load_retriever(out, load=load_trained)
    assert isinstance(retriever, Clauses)
    assert isinstance(retriever.inner, Refined)
    found = CliRunner().invoke(tools_command, ["search", str(out), "please rain is the", "-k", "1"])
    assert json.loads(found.stdout)["tools"][0]["name"] == retriever.search(["please rain is the"], 1)[0][0][0]
