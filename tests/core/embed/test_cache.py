from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from labelspace.embed.cache import CachedEmbedder, cache_folder
from labelspace.errors import ConfigError, ModelError


class Lengths:
    """A tiny embedder that counts what it is asked."""

    name = "lengths"

    def __init__(self, version="1", scale=1.0):
        self.version = version
        self.scale = scale
        self.asked = []

    def embed(self, texts):
        self.asked += texts
        return np.array([[len(text) * self.scale, 1.0] if text.strip() else [0, 0] for text in texts], np.float32)


def test_a_text_is_embedded_once(tmp_path):
    inner = Lengths()
    texts = ["one", "three", "", "one", "  "]
    first = CachedEmbedder(inner, tmp_path).embed(texts)
    assert sorted(inner.asked) == ["one", "three"]
    second = CachedEmbedder(inner, tmp_path).embed([*texts, "new"])
    assert inner.asked[2:] == ["new"]
    np.testing.assert_array_equal(first, [[3, 1], [5, 1], [0, 0], [3, 1], [0, 0]])
    np.testing.assert_array_equal(second, [*first, [3, 1]])


def test_another_version_is_embedded_anew(tmp_path):
    CachedEmbedder(Lengths("1"), tmp_path).embed(["four"])
    other = Lengths("2", scale=10)
    np.testing.assert_array_equal(CachedEmbedder(other, tmp_path).embed(["four"]), [[40, 1]])
    assert other.asked == ["four"]


def test_blank_texts_alone_have_the_width_of_the_model(tmp_path):
    np.testing.assert_array_equal(CachedEmbedder(Lengths(), tmp_path).embed(["", " "]), np.zeros((2, 2)))


def _fill(folder, start):
    CachedEmbedder(Lengths(), Path(folder)).embed(["x" * n for n in range(start, start + 3000)])


def test_two_processes_share_one_file(tmp_path):
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_fill, args=(str(tmp_path), start)) for start in (1, 1500)]
    for process in others:
        process.start()
    for process in others:
        process.join()
    assert [process.exitcode for process in others] == [0, 0]
    inner = Lengths()
    rows = CachedEmbedder(inner, tmp_path).embed(["x" * n for n in range(1, 4500)])
    assert inner.asked == []
    np.testing.assert_array_equal(rows[:, 0], np.arange(1, 4500))


def test_what_was_done_before_a_failure_is_kept(tmp_path):
    class Failing(Lengths):
        def embed(self, texts):
            if len(self.asked) >= 1024:
                raise ModelError("down")
            return super().embed(texts)

    texts = [f"{n:04d}" for n in range(2000)]
    with pytest.raises(ModelError, match="down"):
        CachedEmbedder(Failing(), tmp_path).embed(texts)
    inner = Lengths()
    CachedEmbedder(inner, tmp_path).embed(texts)
    assert len(inner.asked) == 2000 - 1024


def test_a_damaged_file_is_told(tmp_path):
    (tmp_path / "embeddings.sqlite").write_bytes(b"not a database, but quite long enough to look like one" * 100)
    with pytest.raises(ConfigError, match=r"embeddings\.sqlite.*--no-cache"):
        CachedEmbedder(Lengths(), tmp_path).embed(["a"])


def test_a_folder_that_can_not_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="LABELSPACE_CACHE"):
        CachedEmbedder(Lengths(), tmp_path / "file" / "folder").embed(["a"])


def test_the_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("LABELSPACE_CACHE", "/one")
    assert cache_folder() == Path("/one")
    monkeypatch.delenv("LABELSPACE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    assert cache_folder() == Path("/two/labelspace")
