"""Serving forms of trained heads: several times as fast, and within 1e-5 of the model for any batch."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import TEXTS, build_base, train

from labelspace.errors import ConfigError
from labelspace.finetune.linear import LinearHead
from labelspace.finetune.serving import make_ready
from labelspace.finetune.store import save_model
from labelspace.space import LabelSpace

ODD = ["", "a", "日本語のテキスト", "👩‍👩‍👧 é", *[" ".join(["the big red cat"] * n) for n in (1, 3, 90)]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_base(tmp_path_factory.mktemp("base") / "llama")


@pytest.fixture
def closing() -> Iterator[list[Any]]:
    made: list[Any] = []
    yield made
    for one in made:
        one.kept.close()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("ls", {"pooling": "max", "unmask_from": 0}),
        ("ls", {"pooling": "mean", "unmask_from": 1, "head": "mlp"}),
        ("ptec", {}),
    ],
)
def test_a_language_model_says_the_same_in_onnx(
    tmp_path: Path, base: str, closing: list[Any], kind: str, settings: dict[str, Any]
) -> None:
    train(kind, base, tmp_path / "m", **settings)
    ready = make_ready(tmp_path / "m", runtime="onnx")
    closing.append(ready)
    assert ready.head is not ready.classifier.head and "runs in ONNX Runtime" in ready.remark
    texts = [*ODD, *TEXTS]
    wanted = ready.classifier.head.predict_proba(texts)
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(ready.head.predict_proba, [texts] * 2):
            np.testing.assert_allclose(found, wanted, atol=1e-5)
    alone = np.concatenate([ready.head.predict_proba([text]) for text in texts])
    np.testing.assert_allclose(alone, wanted, atol=1e-5)
    plain = make_ready(tmp_path / "m", runtime="torch")
    assert plain.head is plain.classifier.head and not plain.remark


@pytest.mark.encoder
def test_an_encoder_goes_into_onnx_too_and_what_is_there_already_is_taken(
    tmp_path: Path, encoder_folder: str, closing: list[Any]
) -> None:
    head = LinearHead(str(encoder_folder)).fit(["a cat", "the cat", "a dog", "dogs"], ["cat", "cat", "dog", "dog"])
    save_model(tmp_path / "m", head, LabelSpace.of(["cat", "dog"]))
    ready = make_ready(tmp_path / "m", runtime="onnx")
    closing.append(ready)
    texts = [text for text in ODD if text]
    np.testing.assert_allclose(ready.head.predict_proba(texts), head.predict_proba(texts), atol=1e-5)
    assert "runs in ONNX Runtime" in ready.remark


def test_tfidf_needs_nothing(tmp_path: Path) -> None:
    save_model(tmp_path / "m", LinearHead().fit(["a cat", "a dog"], ["cat", "dog"]), LabelSpace.of(["cat", "dog"]))
    ready = make_ready(tmp_path / "m")
    assert ready.head is ready.classifier.head and not ready.remark


def test_what_has_no_graph_runs_in_torch_and_says_so(tmp_path: Path, base: str) -> None:
    train("ls", base, tmp_path / "m", legacy_padding=True)
    ready = make_ready(tmp_path / "m")
    assert ready.head is ready.classifier.head
    assert ready.remark.startswith("without ONNX Runtime: only a float32 head on a CPU")
    with pytest.raises(ConfigError, match="only a float32 head"):
        make_ready(tmp_path / "m", runtime="onnx")
