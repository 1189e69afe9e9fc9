from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load, save

from labelspace.embed import fit_embedder, load_embedder
from labelspace.embed.tfidf import TfidfEmbedder
from labelspace.errors import ConfigError, DataError

ENGLISH = ["my card is lost", "I lost my card today", "where is the parcel"]
JAPANESE = ["カードを紛失しました", "カードが紛失した", "荷物はどこですか"]
CHINESE = ["我的卡丢了", "我的银行卡丢了", "包裹在哪里呢"]


@pytest.mark.parametrize("texts", [ENGLISH, JAPANESE, CHINESE], ids=["english", "japanese", "chinese"])
def test_three_short_texts_are_enough(texts):
    vectors = TfidfEmbedder().fit(texts).embed(texts)
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, 3)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > likeness[0, 2] + 0.1
    assert likeness[0, 1] > likeness[1, 2] + 0.1


def test_blank_and_unknown_texts_give_rows_of_zeros():
    embedder = TfidfEmbedder().fit([*ENGLISH, "", "  "])
    vectors = embedder.embed(["", "my card", " \n\t", "ЖЖЖ"])
    assert vectors.any(axis=1).tolist() == [False, True, False, False]
    assert embedder.embed([]).shape == (0, 3)
    assert embedder.embed(["", ""]).shape == (2, 3)


def test_fitting_twice_gives_the_same_vectors():
    texts = [f"{a} {b} order number {a}{b}" for a in ("lost", "late", "paid", "sent") for b in range(60)]
    first, second = (TfidfEmbedder(dimensions=20).fit(texts).embed(texts) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (240, 20)


def test_a_saved_embedder_gives_the_same_vectors():
    embedder = TfidfEmbedder().fit([*ENGLISH, *JAPANESE])
    tensors, data = embedder.to_tensors()
    loaded = TfidfEmbedder.from_tensors(load(save(tensors)), json.loads(json.dumps(data)))
    np.testing.assert_array_equal(loaded.embed(ENGLISH), embedder.embed(ENGLISH))


def test_damage_and_foreign_formats_are_told():
    tensors, data = TfidfEmbedder().fit(ENGLISH).to_tensors()
    with pytest.raises(ConfigError, match="damaged"):
        TfidfEmbedder.from_tensors({**tensors, "idf": tensors["idf"][1:]}, data)
    with pytest.raises(ConfigError, match="format 99"):
        TfidfEmbedder.from_tensors(tensors, {**data, "format": 99})


def test_what_can_not_be_fitted_or_used_is_told():
    with pytest.raises(DataError, match="all are empty"):
        TfidfEmbedder().fit(["", " "])
    with pytest.raises(ConfigError, match="call fit"):
        TfidfEmbedder().embed(["card"])


@pytest.mark.parametrize("texts", [["!!!", "???"], ["a"], ["same", "same", "same"], ["x" * 50_000, "y"]])
def test_odd_texts_still_embed(texts):
    vectors = fit_embedder(load_embedder("tfidf"), texts).embed(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_random_directions_keep_what_is_rare() -> None:
    # Of 600 texts on two things, three are on a third: too few for a direction of most variance of its own.
    words = [f"w{n}" for n in range(40)]
    texts = [f"{words[n % 40]} {words[7 * n % 40]} and the {'card' if n % 2 else 'parcel'}" for n in range(597)]
    texts += ["quartz lamp glows", "a quartz lamp", "lamp of quartz"]

    def gap(embedder: TfidfEmbedder) -> float:
        rows = embedder.fit(texts).embed(texts)
        likeness = rows[597:] @ rows.T
        return float(likeness[:, 597:].min() - likeness[:, :597].max())

    random = TfidfEmbedder(dimensions=256, directions="random")
    assert gap(random) > 0.2
    assert gap(random) > gap(TfidfEmbedder(dimensions=8))
    assert np.allclose(random.embed(texts[:3]), TfidfEmbedder(directions="random").fit(texts).embed(texts[:3]))
    tensors, data = random.to_tensors()
    assert np.array_equal(TfidfEmbedder.from_tensors(tensors, data).embed(texts[:3]), random.embed(texts[:3]))
