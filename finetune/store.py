"""Trained models on disk: a folder of safetensors and JSON, which appears whole or not at all.

    model.json         format, versions, head, label space, embedder, and a card: data, settings, metrics
    model.safetensors  the tensors of the head, and of TF-IDF where that is its embedder or stands beside it
    vocabulary.json    the terms of TF-IDF

Nothing in it is ever executed on loading.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labelspace.embed import Embedder, cache_folder, load_embedder
from labelspace.embed.joined import WithWords
from labelspace.embed.tfidf import TfidfEmbedder
from labelspace.embed.trace import GRAPH
from labelspace.errors import DataError, LabelspaceError
from labelspace.finetune.boosted import BoostedHead
from labelspace.finetune.classifier import HeadClassifier
from labelspace.finetune.embedded import EmbeddingHead
from labelspace.finetune.linear import LinearHead
from labelspace.finetune.nearest import NearestHead
from labelspace.finetune.tuned_store import KINDS, check_target, load_tuned, no_tagger
from labelspace.finetune.two_layer import TwoLayerHead
from labelspace.space import LabelSpace

FORMAT = 1
MODEL, TENSORS, VOCABULARY = "model.json", "model.safetensors", "vocabulary.json"
EMBEDDED: dict[str, type[EmbeddingHead]] = {
    head.kind: head for head in (LinearHead, TwoLayerHead, BoostedHead, NearestHead)
}
"""Heads over text embeddings, by kind."""


def save_model(
    folder: str | Path, head: EmbeddingHead, space: LabelSpace, card: Mapping[str, Any] | None = None
) -> None:
    """Write a trained head with its label space; a model that is there is replaced when the new one is whole.

    Args:
        folder: The folder to make.
        head: The trained head.
        space: The space of its labels.
        card: What to keep of how it came about, as plain data: data, settings, metrics.

    Raises:
        SpaceError: The head gives a label that the space does not have.
        DataError: The folder can't be written, or holds something other than a model.
    """
    from safetensors.numpy import save

    from labelspace import __version__

    HeadClassifier(head, space)  # refuses what does not fit
    folder = Path(folder).resolve()  # so that "." has a name
    check_target(folder)
    tensors, data = head.to_tensors()
    tensors = {f"head.{name}": tensor for name, tensor in tensors.items()}
    embedder: dict[str, Any] = {"spec": head.fitted_embedder.name}
    files: dict[str, bytes] = {}
    words = head.fitted_embedder.words if isinstance(head.fitted_embedder, WithWords) else head.fitted_embedder
    if isinstance(words, TfidfEmbedder):
        own, vocabulary = words.to_tensors()
        tensors |= {f"embedder.{name}": tensor for name, tensor in own.items()}
        files[VOCABULARY] = _json(vocabulary)
    files[TENSORS] = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    files[MODEL] = _json(
        {
            "format": FORMAT,
            "labelspace": __version__,
            "head": {"kind": head.kind, **data},
            "embedder": embedder,
            "space": space.to_data(),
            "card": dict(card or {}),
            "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        },
        indent=1,
    )
    try:
        _replace(folder, files)
    except OSError as error:
        raise DataError(f"can't be written: {error.strerror or error}", path=str(folder)) from error


def load_classifier(
    folder: str | Path, *, embedder: str | Embedder | None = None, cached: bool = True
) -> HeadClassifier:
    """Read a model as a `Classifier`.

    Args:
        folder: What `save_model` made.
        embedder: Replaces the embedder's specification, for one that has moved; it must be the same model.
        cached: Whether to keep embeddings in the user's cache folder.

    Raises:
        DataError: The folder is missing, incomplete, damaged, or of another format.
    """
    folder = Path(folder)
    data = read_model(folder)
    if data["head"]["kind"] in KINDS:
        no_tagger(data["head"]["kind"])
        tuned: HeadClassifier = load_tuned(folder, data, base=embedder if isinstance(embedder, str) else None)
        return tuned
    try:
        vocabulary = _checked(folder, VOCABULARY, data["sha256"]) if VOCABULARY in data["sha256"] else None
        tensors = _tensors(folder, data["sha256"])
        space = LabelSpace.from_data(data["space"])
        words = None
        if vocabulary is not None:
            words = TfidfEmbedder.from_tensors(_under("embedder", tensors), json.loads(vocabulary))
        spec = embedder or _beside(folder, str(data["embedder"]["spec"]))
        if words is not None and spec == words.name:
            loaded: Embedder = words
        else:
            loaded = load_embedder(spec, cache=cache_folder() if cached else None) if isinstance(spec, str) else spec
            if words is not None:
                loaded = WithWords(loaded, words, float(data["head"]["words"]))
        head = EMBEDDED[data["head"]["kind"]].from_tensors(_under("head", tensors), data["head"], loaded)
        about = {"model": folder.name, "head": data["head"]["kind"], "embedder": loaded.name}
        return HeadClassifier(head, space, source=about)
    except DataError:
        raise
    except LabelspaceError as error:
        raise DataError(str(error), path=str(folder)) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(folder / MODEL, f"{type(error).__name__} {error}") from error


def _beside(folder: Path, spec: str) -> str:
    """The specification of an embedder; one that was exported lies in the folder of its model, wherever that is."""
    inner = spec.removeprefix("onnx:")
    return f"onnx:{folder / inner}" if inner != spec and (folder / inner / GRAPH).exists() else spec


def read_model(folder: str | Path) -> dict[str, Any]:
    """The content of a model's `model.json`.

    Raises:
        DataError: It is missing, unreadable, or of a format that this version does not know.
    """
    path = Path(folder) / MODEL
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        missing = "no such folder" if not Path(folder).exists() else f"holds no {MODEL}, so it is no model"
        raise DataError(missing, path=str(folder), advice="make one with: labelspace train") from None
    except OSError as error:
        raise DataError(f"can't be read: {error.strerror or error}", path=str(path)) from error
    except ValueError as error:
        raise _damaged(path, "not valid JSON") from error
    if not isinstance(data, dict) or not isinstance(data.get("format"), int):
        raise _damaged(path, "it names no format")
    kind = data["head"].get("kind") if isinstance(data.get("head"), dict) else None
    if data["format"] != FORMAT or kind not in {*EMBEDDED, *KINDS}:
        raise DataError(
            f"this version knows no model of format {data['format']} with a {kind} head "
            f"(labelspace {data.get('labelspace')} made it)",
            path=str(path),
            advice="use the version of labelspace that made it, or train it again",
        )
    return data


def _tensors(folder: Path, digests: Mapping[str, str]) -> dict[str, npt.NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        found: dict[str, npt.NDArray[Any]] = load(_checked(folder, TENSORS, digests))
    except SafetensorError as error:
        raise _damaged(folder / TENSORS, str(error)) from error
    return found


def _checked(folder: Path, name: str, digests: Mapping[str, str]) -> bytes:
    try:
        content = (folder / name).read_bytes()
    except FileNotFoundError:
        raise _damaged(folder, f"{name} is missing") from None
    except OSError as error:
        raise DataError(f"can't be read: {error.strerror or error}", path=str(folder / name)) from error
    if hashlib.sha256(content).hexdigest() != digests[name]:
        raise _damaged(folder / name, f"its content is not what {MODEL} names")
    return content


def _damaged(path: Path, problem: str) -> DataError:
    return DataError(f"the model is damaged: {problem}", path=str(path), advice="copy it again, or train it again")


def _under(prefix: str, tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _json(data: Mapping[str, Any], *, indent: int | None = None) -> bytes:
    return (json.dumps(data, ensure_ascii=False, indent=indent) + "\n").encode()


def _replace(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files into a folder beside the target, and give it the target's name."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = secrets.token_hex(4)
    made, old = folder.with_name(f".{folder.name}.{mark}.part"), folder.with_name(f".{folder.name}.{mark}.old")
    try:
        made.mkdir()
        for name, content in files.items():
            with (made / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if folder.exists():
            folder.rename(old)
        try:
            made.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
