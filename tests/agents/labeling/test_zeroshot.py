"""Labels without a model: by similarity to what labels say of themselves."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from labelspace.agents.labeling.zeroshot import FITS_NOWHERE, NOTHING_SHARED, SimilarityLabeler, label_texts, speak
from labelspace.records import Classifier, Record
from labelspace.space import Label, LabelSpace

SPACE = LabelSpace(
    name="shop",
    labels=(
        Label(name="Orders", description="Everything about parcels."),
        Label(name="where_is_my_parcel", parent="Orders", description="Parcel is late, tracking and delivery date."),
        Label(name="cancel_order", parent="Orders", description="Cancel an order; not for a late parcel."),
        Label(
            name="password_reset", description="Forgotten password, login and sign in.", examples=("I can't log in",)
        ),
    ),
)
TEXTS = [
    "my parcel is late, where is it? tracking says nothing",
    "when is the delivery date of my parcel",
    "please cancel the order I made",
    "I want to cancel order 12",
    "I forgot my password and the login fails",
    "sign in does not work, reset my password",
]
GOLD = ["where_is_my_parcel"] * 2 + ["cancel_order"] * 2 + ["password_reset"] * 2


class Directions:
    """Each word is a direction, so that similarities can be seen by eye; other words are unknown."""

    name = "directions"

    def __init__(self, *words: str) -> None:
        self.words = words
        self.seen = 0

    def embed(self, texts):
        self.seen += len(texts)
        rows = np.array([[text.lower().split().count(word) for word in self.words] for text in texts], np.float32)
        return rows.reshape(len(texts), -1) / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)


@pytest.mark.parametrize(
    ("name", "spoken"),
    [
        ("card_lost", "card lost"),
        ("cardLost", "card lost"),
        ("Refund_not_showing_up", "refund not showing up"),
        ("reverted_card_payment?", "reverted card payment"),
        ("ENTY:veh", "enty veh"),
        ("R&D", "r d"),
        ("Überweisung-Gebühr", "überweisung gebühr"),
        ("配達", "配達"),
        ("???", "???"),
    ],
)
def test_names_are_spoken(name: str, spoken: str) -> None:
    assert speak(name) == spoken


@pytest.mark.parametrize(
    ("label", "texts"),
    [
        (Label(name="pay_bill"), [("pay bill", 1.0)]),
        (Label(name="pay_bill", parent="bank_account"), [("pay bill", 1.0), ("bank account: pay bill", 1.0)]),
        (
            Label(name="pay", parent="bank", description="Pay a bill."),
            [("pay", 1.0), ("Pay a bill.", 1.0), ("pay: Pay a bill.", 1.0)],
        ),
        (
            Label(name="late", description="A parcel is late; not for broken goods, nor wrong ones."),
            [("late", 1.0), ("A parcel is late.", 1.0), ("late: A parcel is late.", 1.0)],
        ),
        (
            Label(name="x", description="Cats (excluding lions) and dogs, but not when wild."),
            [("x", 1.0), ("Cats and dogs.", 1.0), ("x: Cats and dogs.", 1.0)],
        ),
        (Label(name="x", examples=("a", "b", " ", "c")), [("x", 1.0), ("a", 0.5), ("b", 0.5), ("c", 0.5)]),
    ],
)
def test_a_label_says_what_it_is(label: Label, texts: list[tuple[str, float]]) -> None:
    assert label_texts(label) == texts


@pytest.mark.parametrize("adapt", [True, False])
def test_texts_get_the_label_that_is_most_like_them(adapt: bool) -> None:
    labeler = SimilarityLabeler(SPACE, adapt=adapt)
    assert isinstance(labeler, Classifier)
    made = list(labeler.predict(TEXTS))
    assert [one.label for one in made] == GOLD
    assert [one.record_id for one in made] == ["0", "1", "2", "3", "4", "5"]
    for one in made:
        assert set(one.scores) == set(SPACE.leaves)
        assert sum(one.scores.values()) == pytest.approx(1, abs=1e-5)
        assert one.confidence == max(one.scores.values()) == one.scores[one.label or ""]
        assert one.source == {
            "model": "none",
            "method": "similarity",
            "embedder": "tfidf",
            "adapted_to": 6 if adapt else 0,
            "space": SPACE.version,
        }


def test_the_same_texts_get_the_same_labels_again() -> None:
    assert list(SimilarityLabeler(SPACE).predict(TEXTS)) == list(SimilarityLabeler(SPACE).predict(iter(TEXTS)))


def test_blank_texts_and_unknown_words_abstain_in_their_place() -> None:
    space = LabelSpace.of(["red", "blue"])
    labeler = SimilarityLabeler(space, embedder=Directions("red", "blue"))
    made = list(labeler.predict([Record("a", "red"), Record("b", " \n"), Record("c", "green"), Record("d", "blue")]))
    assert [(one.record_id, one.label, one.status, one.reason) for one in made] == [
        ("a", "red", "ok", None),
        ("b", None, "abstained", "empty text"),
        ("c", None, "abstained", NOTHING_SHARED),
        ("d", "blue", "ok", None),
    ]


@pytest.mark.parametrize("texts", [[], ["", " "]])
def test_nothing_to_label_is_no_error(texts: list[str]) -> None:
    labeler = SimilarityLabeler(SPACE)
    assert [one.status for one in labeler.predict(texts)] == ["abstained"] * len(texts)
    assert [one.label for one in labeler.fit_texts(texts).predict(TEXTS[:1])] == GOLD[:1]


def test_it_streams_from_the_first_batch_once_it_was_fitted() -> None:
    labeler = SimilarityLabeler(SPACE, batch_size=2).fit_texts(TEXTS)
    read = 0

    def passing():
        nonlocal read
        for text in TEXTS:
            read += 1
            yield text

    made = labeler.predict(passing())
    assert next(made).label == GOLD[0]
    assert read == 2
    assert [one.label for one in made] == GOLD[1:]


def test_it_holds_back_no_more_than_its_sample() -> None:
    labeler = SimilarityLabeler(SPACE, sample=4, batch_size=1)
    read = 0

    def passing():
        nonlocal read
        for text in TEXTS * 3:
            read += 1
            yield text

    made = labeler.predict(passing())
    next(made)
    assert read == 4
    rest = list(made)
    assert len(rest) == 17
    assert rest[-1].source["adapted_to"] == 4


def test_a_long_file_is_sampled_at_random_and_again_alike() -> None:
    space = LabelSpace.of(["red", "blue"])
    texts = [f"red {number}" for number in range(500)] + [f"blue {number}" for number in range(500)]
    embedders = [Directions("red", "blue"), Directions("red", "blue")]
    made = [
        list(SimilarityLabeler(space, embedder=embedder, sample=100).fit_texts(texts).predict(texts[::100]))
        for embedder in embedders
    ]
    assert [one.label for one in made[0]] == ["red"] * 5 + ["blue"] * 5
    assert made[0] == made[1]
    assert made[0][0].source["adapted_to"] == 100
    assert embedders[0].seen < 200


def test_what_is_near_no_label_abstains_only_where_there_is_an_other_bucket() -> None:
    words = [f"w{number}" for number in range(30)]
    names = words[:10]
    nowhere = " ".join(words[10:])
    for other, expected in (("other", (None, "abstained", FITS_NOWHERE)), (None, ("w0", "ok", None))):
        space = LabelSpace(labels=tuple(Label(name=name) for name in names), other=other)
        labeler = SimilarityLabeler(space, embedder=Directions(*words), adapt=False)
        (made,) = labeler.predict([nowhere])
        assert (made.label, made.status, made.reason) == expected
        assert [one.label for one in labeler.predict(["w3", "w9 w9"])] == ["w3", "w9"]


def test_several_labels_or_none_in_a_multi_label_space() -> None:
    words = [f"w{number}" for number in range(40)]
    space = LabelSpace.of(words[:12], multi_label=True)
    labeler = SimilarityLabeler(space, embedder=Directions(*words))
    texts = [f"{words[at % 12]} {words[(at * 5 + 1) % 12]} {words[20]}" for at in range(60)]
    one, two, none = labeler.fit_texts(texts).predict(["w3", "w2 w7", " ".join(words[20:])])
    assert one.labels == ("w3",)
    assert set(two.labels) == {"w2", "w7"}
    assert none.labels == ()
    assert none.status == "ok"
    for made in (one, two, none):
        assert 0 <= (made.confidence or 0) <= 1


def test_scores_are_sparse_in_a_large_space() -> None:
    space = LabelSpace.of([f"topic {number}" for number in range(600)])
    embedder = Directions(*(f"{number}" for number in range(600)))
    made = list(SimilarityLabeler(space, embedder=embedder).predict(["about 17 and 17 and 4", "599"]))
    assert [one.label for one in made] == ["topic 17", "topic 599"]
    assert [len(one.scores) for one in made] == [10, 10]
    assert list(made[0].scores)[:2] == ["topic 17", "topic 4"]


@pytest.mark.encoder
def test_an_encoder_is_loaded_by_its_name(encoder_folder) -> None:
    labeler = SimilarityLabeler(SPACE, embedder=encoder_folder)
    assert [[made.label for made in labeler.predict(TEXTS)] for _ in range(2)] == [GOLD] * 2


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.encoder
def test_it_beats_the_nearest_name_by_eight_points_on_unseen_texts(data_dir, encoder_folder) -> None:
    from labelspace.embed import load_embedder
    from labelspace.recipes import label_clinc150

    with gzip.open(data_dir / "clinc150" / "dev.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][::10]
    space = LabelSpace.load(label_clinc150.HERE / "spaces" / "clinc150.yaml")
    embedder = load_embedder(encoder_folder)
    texts = [row["text"] for row in rows]
    nearest = (embedder.embed(texts) @ embedder.embed(space.leaves).T).argmax(1)
    plain = np.mean([space.leaves[at] == row["label"] for at, row in zip(nearest, rows, strict=True)])
    made = SimilarityLabeler(space, embedder=embedder).predict(texts)
    right = np.mean([one.label == row["label"] for one, row in zip(made, rows, strict=True)])
    assert right > plain + 0.08
