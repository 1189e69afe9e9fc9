"""`labelspace predict --engine ray`: as one process would, also where a worker dies."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from labelspace.cli import main
from labelspace.data import read_predictions, read_records, write_rows
from labelspace.errors import ConfigError
from labelspace.finetune.linear import LinearHead
from labelspace.finetune.predict_ray import RayClassifier
from labelspace.finetune.store import load_classifier, save_model
from labelspace.records import Prediction
from labelspace.space import LabelSpace

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("ray.exceptions") is None, reason="ray is not installed: pip install 'labelspace[ray]'"
    ),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    records = [one for one in read_records("sample:support") if one.label and not one.is_blank][:150]
    labels = [one.label or "" for one in records]
    folder = tmp_path_factory.mktemp("ray") / "model"
    save_model(folder, LinearHead().fit([one.text for one in records], labels), LabelSpace.of(sorted(set(labels))))
    return str(folder)


def test_as_one_process_would(model: str, tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "text": "" if n % 97 == 5 else f"parcel {n} pump {n % 7}"} for n in range(3000)]
    write_rows(tmp_path / "texts.parquet", rows)
    for out, more in (("alone.parquet", []), ("ray.parquet", ["--engine", "ray", "--workers", "2"])):
        with pytest.raises(SystemExit) as done:
            main(["predict", model, str(tmp_path / "texts.parquet"), "--out", str(tmp_path / out), *more])
        assert not done.value.code
    alone, together = ([*read_predictions(tmp_path / name)] for name in ("alone.parquet", "ray.parquet"))
    assert same(together, alone) and len(alone) == 3000


def same(made: list[Prediction], wanted: list[Prediction]) -> bool:
    """Whether two runs say the same; the last digit depends on which texts a batch holds."""
    assert [(one.record_id, one.labels, one.status) for one in made] == [
        (one.record_id, one.labels, one.status) for one in wanted
    ]
    for one, other in zip(made, wanted, strict=True):
        assert dict(one.scores) == pytest.approx(dict(other.scores), abs=2e-6)
    return True


def one_of_our_workers() -> int:
    """Process id of an actor that this process started, directly or not."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if not (path / "cmdline").read_bytes().startswith(b"ray::Worker"):
                continue
            ancestor = int(path.name)
            while ancestor > 1:
                ancestor = int(Path(f"/proc/{ancestor}/stat").read_text().rpartition(")")[2].split()[1])
                if ancestor == os.getpid():
                    return int(path.name)
        except OSError:  # it has just ended
            continue
    raise AssertionError("no actor is running")


def test_a_worker_that_dies(model: str) -> None:
    texts = [f"parcel {n}" for n in range(2000)]
    wanted = list(load_classifier(model).predict(texts))
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    try:
        predictions = RayClassifier(model, workers=2, batch_size=50).predict(texts)
        found = [next(predictions)]
        os.kill(one_of_our_workers(), 9)
        found += predictions
    finally:
        ray.shutdown()
    assert same(found, wanted)


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="the workers can't go on"):
        list(RayClassifier("/nowhere", workers=1).predict(["a"]))
