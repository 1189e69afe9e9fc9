"""Models on disk: what is saved comes back, and what is not whole is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from labelspace.errors import DataError, SpaceError
from labelspace.finetune.linear import LinearHead
from labelspace.finetune.store import load_classifier, read_model, save_model
from labelspace.space import Label, LabelSpace

TEXTS = [
    f"{verb} {thing} {number}"
    for number in range(8)
    for thing, verb in (("refund", "give me a"), ("parcel", "where is my"), ("password", "I forgot my"))
]
LABELS = ["money", "delivery", "account"] * 8
SPACE = LabelSpace(
    name="shop",
    labels=(
        Label(name="help"),
        Label(name="account", parent="help", description="Größe, 配達"),
        Label(name="delivery"),
        Label(name="money"),
    ),
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", LinearHead().fit(TEXTS, LABELS), SPACE, {"texts": 24})
    return tmp_path / "model"


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_model_comes_back_as_it_was(tmp_path: Path, multi_label: bool) -> None:
    labels = [[name] for name in LABELS] if multi_label else LABELS
    space = SPACE.model_copy(update={"multi_label": multi_label})
    head = LinearHead(multi_label=multi_label, C=7.0, class_weight={"money": 2.0}).fit(TEXTS, labels)
    save_model(tmp_path / "deep" / "model", head, space, {"texts": 24, "note": "Größe"})
    loaded = load_classifier(tmp_path / "deep" / "model")
    new = ["a refund", "ein Paket", "the parcel and the password"]
    assert (loaded.head.predict_proba(new) == head.predict_proba(new)).all()
    assert isinstance(loaded.head, LinearHead)
    assert loaded.head.get_params() | {"embedder": 0} == head.get_params() | {"embedder": 0}
    assert loaded.label_space == space
    assert read_model(tmp_path / "deep" / "model")["card"] == {"texts": 24, "note": "Größe"}
    (made,) = loaded.predict(["my refund"])
    assert made.label == "money"
    assert made.source == {"model": "model", "head": "linear", "embedder": "tfidf", "space": space.version}


def test_only_safetensors_and_json_are_written(model: Path) -> None:
    assert sorted(path.name for path in model.iterdir()) == ["model.json", "model.safetensors", "vocabulary.json"]
    assert sorted(path.name for path in model.parent.iterdir()) == ["model"]


def test_a_model_can_be_moved_and_replaced(model: Path, tmp_path: Path) -> None:
    moved = model.rename(tmp_path / "elsewhere")
    assert next(load_classifier(moved).predict(["refund"])).label == "money"
    renamed = [f"new {name}" for name in LABELS]
    save_model(moved, LinearHead().fit(TEXTS, renamed), LabelSpace.of(sorted(set(renamed))))
    assert next(load_classifier(moved).predict(["refund"])).label == "new money"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere"]


def test_what_is_no_model_is_not_replaced(tmp_path: Path) -> None:
    head = LinearHead().fit(TEXTS, LABELS)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("dear diary")
    (tmp_path / "file").write_text("x")
    for name in ("notes", "file"):
        with pytest.raises(DataError, match="is there already and is no model; name another folder"):
            save_model(tmp_path / name, head, SPACE)
    (tmp_path / "empty").mkdir()
    save_model(tmp_path / "empty", head, SPACE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "notes"]


def test_a_save_that_fails_leaves_the_old_model(model: Path) -> None:
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    with pytest.raises(SpaceError, match="the label 'delivery' is not in the space"):
        save_model(model, LinearHead().fit(TEXTS, LABELS), LabelSpace.of(["account", "money"]))
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before
    with pytest.raises(TypeError):
        save_model(model, LinearHead().fit(TEXTS, LABELS), SPACE, {"not": object()})
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


def edit(model: Path, **changes) -> None:
    data = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps({**data, **changes}))


def cut_tensors(model: Path) -> None:
    content = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(content[:-10])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda model: [path.unlink() for path in model.iterdir()], "holds no model.json, so it is no model"),
        (lambda model: (model / "model.safetensors").unlink(), "model is damaged: model.safetensors is missing"),
        (lambda model: (model / "vocabulary.json").unlink(), "model is damaged: vocabulary.json is missing"),
        (cut_tensors, "model.safetensors: the model is damaged: its content is not what model.json names"),
        (lambda model: (model / "vocabulary.json").write_text("{}"), "its content is not what model.json names"),
        (lambda model: (model / "model.json").write_text("{"), "model.json: the model is damaged: not valid JSON"),
        (lambda model: (model / "model.json").write_bytes(b"\xff\xfe"), "model is damaged: not valid JSON"),
        (lambda model: (model / "model.json").write_text("[]"), "model is damaged: it names no format"),
        (lambda model: edit(model, format=99), "knows no model of format 99 with a linear head"),
        (lambda model: edit(model, head={"kind": "forest"}), "knows no model of format 1 with a forest head"),
        (lambda model: edit(model, head={"kind": "linear"}), "the model is damaged: KeyError"),
        (lambda model: edit(model, space={"labels": []}), "a label space needs at least one label"),
        (lambda model: edit(model, sha256={}), "the model is damaged"),
    ],
)
def test_a_damaged_model_is_refused_in_one_line(model: Path, harm, message: str) -> None:
    harm(model)
    with pytest.raises(DataError) as caught:
        load_classifier(model)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(model) in str(caught.value)


def test_a_missing_folder_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder; make one with: labelspace train"):
        load_classifier(tmp_path / "nowhere")


def test_labels_and_tensors_must_fit(model: Path) -> None:
    data = json.loads((model / "model.json").read_text())
    edit(model, head={**data["head"], "classes": ["account", "money"]})
    with pytest.raises(DataError, match="its tensors do not fit its 2 labels"):
        load_classifier(model)


def test_an_embedder_that_has_moved_can_be_named(tmp_path: Path) -> None:
    class Letters:
        name = "st:/no/longer/here"

        def embed(self, texts):
            return np.array([[text.count(letter) for letter in "abc"] for text in texts], np.float32)

    head = LinearHead(Letters(), words=0).fit(["a", "b", "c"] * 4, LABELS[:12])
    save_model(tmp_path / "model", head, SPACE)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["model.json", "model.safetensors"]
    loaded = load_classifier(tmp_path / "model", embedder=Letters())
    assert [one.label for one in loaded.predict(["aa", "b", "cc"])] == ["money", "delivery", "account"]


def test_words_beside_an_embedder_are_kept(tmp_path: Path) -> None:
    class Letters:
        name = "st:letters"

        def embed(self, texts):
            return np.array([[text.count(letter) for letter in "abc"] for text in texts], np.float32)

    texts = ["a parcel", "b money", "c account"] * 4
    head = LinearHead(Letters()).fit(texts, LABELS[:12])
    save_model(tmp_path / "model", head, SPACE)
    loaded = load_classifier(tmp_path / "model", embedder=Letters())
    found = np.array([[one.scores[name] for name in head.classes_] for one in loaded.predict(texts)])
    np.testing.assert_allclose(found, head.predict_proba(texts), atol=1e-6)
