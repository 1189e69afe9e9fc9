"""Linear heads in ONNX: the same probabilities without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelspace.cli import main
from labelspace.data import read_records
from labelspace.errors import ConfigError, DataError
from labelspace.finetune.export.onnx import export_onnx
from labelspace.finetune.linear import LinearHead
from labelspace.finetune.nearest import NearestHead
from labelspace.finetune.store import load_classifier, save_model
from labelspace.finetune.two_layer import TwoLayerHead
from labelspace.space import LabelSpace

RECORDS = [record for record in read_records("sample:support") if record.label and not record.is_blank][:120]
TEXTS = [record.text for record in RECORDS]
PROBES = ["", "a", "日本語", "parcel " * 900, *TEXTS[:20]]


def save(folder: Path, embedder: str, *, several: bool = False, kind: Any = LinearHead) -> Any:
    names = [record.label or "" for record in RECORDS]
    labels = [[name] for name in names] if several else names
    head = kind(embedder, multi_label=several).fit(TEXTS, labels)
    save_model(folder, head, LabelSpace.of(sorted(set(names)), multi_label=several), {"data": {"texts": len(TEXTS)}})
    return head


@pytest.mark.parametrize("several", [False, True])
def test_tf_idf(tmp_path: Path, several: bool) -> None:
    head = save(tmp_path / "model", "tfidf", several=several)
    assert export_onnx(tmp_path / "model", tmp_path / "out") < 1e-6
    loaded = load_classifier(tmp_path / "out").head
    np.testing.assert_allclose(loaded.predict_proba(PROBES), head.predict_proba(PROBES), atol=1e-6)


@pytest.mark.parametrize(("several", "kind"), [(False, NearestHead), (True, NearestHead), (False, TwoLayerHead)])
def test_neighbours_go_along(tmp_path: Path, several: bool, kind: Any) -> None:
    head = save(tmp_path / "model", "tfidf", several=several, kind=kind)
    assert export_onnx(tmp_path / "model", tmp_path / "out") < 1e-6
    assert not (tmp_path / "out" / "head.onnx").exists()
    loaded = load_classifier(tmp_path / "out").head
    np.testing.assert_allclose(loaded.predict_proba(PROBES), head.predict_proba(PROBES), atol=1e-6)
    np.testing.assert_array_equal(loaded.thresholds_, head.thresholds_)


@pytest.mark.encoder
@pytest.mark.parametrize("kind", [LinearHead, NearestHead])
@pytest.mark.filterwarnings("ignore:.*legacy TorchScript:DeprecationWarning")
def test_an_encoder_and_a_move(tmp_path: Path, encoder_folder: str, kind: Any) -> None:
    head = save(tmp_path / "model", f"st:{encoder_folder}", kind=kind)
    assert export_onnx(tmp_path / "model", tmp_path / "out") < 1e-5
    (tmp_path / "out").rename(tmp_path / "moved")
    loaded = load_classifier(tmp_path / "moved", cached=False)
    np.testing.assert_allclose(loaded.head.predict_proba(PROBES), head.predict_proba(PROBES), atol=1e-5)
    code = (
        "import sys\nfrom labelspace.finetune.store import load_classifier\n"
        f"print(next(load_classifier({str(tmp_path / 'moved')!r}, cached=False).predict({TEXTS[:1]!r})).label)\n"
        "assert not {'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, head.predict(TEXTS[:1])[0]), done.stderr


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "model", "tfidf")
    for _ in range(2):
        with pytest.raises(SystemExit) as done:
            main(["export", str(tmp_path / "model"), "--to", "onnx", str(tmp_path / "out")])
        assert not done.value.code
    assert "its probabilities are within" in capsys.readouterr().err
    with pytest.raises(SystemExit) as done:
        main(["export", str(tmp_path / "model"), "--to", "vllm", str(tmp_path / "vllm")])
    assert done.value.code == 2 and "or export it with --to onnx" in capsys.readouterr().err
    with pytest.raises(SystemExit) as done:
        main(["export", str(tmp_path / "model"), "--to", "adapter", str(tmp_path / "vllm")])
    assert done.value.code == 2 and "--shared-base go together" in capsys.readouterr().err


def test_what_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "model", "tfidf")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(DataError, match="is there already and is no export"):
        export_onnx(tmp_path / "model", tmp_path / "out")
    with pytest.raises(ConfigError, match="is no exported encoder"):
        load_classifier(tmp_path / "model", embedder="onnx:nowhere", cached=False).head.predict_proba(["a"])
