from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from labelspace.embed import cache_folder, fit_embedder, load_embedder
from labelspace.embed.sentences import SentenceEmbedder, folder_version
from labelspace.errors import ConfigError, MissingExtra


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("tfidf", "tfidf"),
        ("st:all-MiniLM-L6-v2", "st:all-MiniLM-L6-v2"),
        ("sentence-transformers/all-MiniLM-L6-v2", "st:sentence-transformers/all-MiniLM-L6-v2"),
        ("http://127.0.0.1:1/v1#bge", "http://127.0.0.1:1/v1#bge"),
        ("https://host/v1/#bge", "https://host/v1#bge"),
    ],
)
def test_a_specification_names_an_embedder(spec, name):
    assert load_embedder(spec).name == name
    assert load_embedder(name, cache=cache_folder()).name == name


def test_a_bare_folder_is_a_model(tmp_path):
    assert load_embedder(str(tmp_path)).name == f"st:{tmp_path}"


def test_an_unknown_specification_is_told():
    with pytest.raises(ConfigError, match="no embedder 'tf-idf'"):
        load_embedder("tf-idf")


def test_loading_imports_nothing_heavy_and_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    embedder = load_embedder("st:some/model")
    with pytest.raises(MissingExtra, match=r"pip install 'labelspace\[embed\]'"):
        embedder.embed(["text"])


def test_a_folder_is_known_by_its_content(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "config.json").write_text("{}")
    (tmp_path / "one" / "model.safetensors").write_bytes(bytes(3_000_000))
    before = folder_version(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two" / "README.md").write_text("A copy.")
    assert folder_version(tmp_path / "two") == before
    with (tmp_path / "two" / "model.safetensors").open("r+b") as file:
        file.seek(2_000_000)
        file.write(b"\1")
    assert folder_version(tmp_path / "two") != before


@pytest.mark.encoder
def test_the_offline_encoder_gives_unit_rows(encoder_folder, tmp_path):
    texts = ["my card is lost", "", "I can't find my card", "book a flight to Rome", "x " * 2000]
    embedder = fit_embedder(load_embedder(encoder_folder, cache=tmp_path, batch_size=2), texts)
    vectors = embedder.embed(texts)
    assert vectors.shape == (5, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 1, 1, 1], atol=1e-5)
    assert vectors[0] @ vectors[2] > vectors[0] @ vectors[3] + 0.3
    np.testing.assert_array_equal(load_embedder(f"st:{encoder_folder}", cache=tmp_path).embed(texts), vectors)
    assert SentenceEmbedder(encoder_folder).embed(["", " "]).shape == (2, 384)


@pytest.mark.encoder
def test_a_folder_without_a_model_is_told(encoder_folder, tmp_path):
    assert Path(encoder_folder).is_dir()
    (tmp_path / "config.json").write_text('{"no": "model"}')
    with pytest.raises(ConfigError, match="can't be loaded"):
        load_embedder(str(tmp_path)).embed(["a"])


@pytest.mark.encoder
@pytest.mark.filterwarnings("ignore:.*legacy TorchScript:DeprecationWarning")
def test_a_graph_is_made_once_says_the_same_and_needs_no_torch(encoder_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LABELSPACE_CACHE", str(tmp_path))
    texts = ["", "Where is my parcel?", "日本語", "the second payment " * 300, "parcel"]
    found = load_embedder(f"onnx:{encoder_folder}")
    np.testing.assert_allclose(found.embed(texts), load_embedder(encoder_folder).embed(texts), atol=1e-5)
    (made,) = (tmp_path / "onnx").iterdir()
    code = (
        "import sys\nfrom labelspace.embed import load_embedder\n"
        f"embedder = load_embedder({found.name!r})\n"
        "print(embedder.version, embedder.embed(['parcel'])[0, 0])\n"
        "assert not {'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [found.version, str(found.embed(["parcel"])[0, 0])]
    assert load_embedder(f"onnx:{made}").version == found.version
    with (made / "encoder.onnx").open("ab") as graph:
        graph.write(b"\0")
    assert load_embedder(f"onnx:{made}").version != found.version
