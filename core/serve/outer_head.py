"""The head where vLLM gives vectors only: applied to them where they arrive, with numpy alone.

vLLM gives one pooled vector a text, or one a token; what it has no layer for (a hidden layer, fixed directions, the
highest value of each hidden unit, nearest neighbours) is done here, in the gateway or the client. The head lies in the
folder `head` of the export: vLLM takes each safetensors file beside the weights for more of them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from labelspace.errors import DataError

FOLDER, _FILE = "head", "head.safetensors"
_STORED = "model.json"
"""Of a head over text embeddings, as `labelspace train` writes it."""
Floats = npt.NDArray[np.float32]
Pooled = Literal["given", "max", "max-hidden"]
"""By vLLM; here, by the highest logit of each label; or here, by the highest value of each hidden unit."""
Apply = Callable[[Sequence[str], Sequence[Floats]], npt.NDArray[np.floating[Any]]]
"""Texts, and what vLLM gave of each, flat, to one row for each label."""


def read_vector(sent: str) -> Floats:
    """Numbers that vLLM sent as base64, flat."""
    return np.frombuffer(base64.b64decode(sent), "<f4")


class OuterHead:
    """Layers on hidden states, and the pooling that goes with them."""

    def __init__(self, steps: Sequence[tuple[str, Sequence[Floats]]], *, pooling: Pooled = "given") -> None:
        """Take the layers.

        Args:
            steps: `linear` with a weight [out, in] and perhaps a bias [out]; `gelu`; `unit` (to length 1); or
                `attend` to the words of labels, with keys and values [k, m, d], a mask [k, m] that is added to
                scores, and [sharpness, scale, offset].
            pooling: See `Pooled`.

        Raises:
            ValueError: It does not start with a linear layer, or there is no such pooling.
        """
        if pooling not in get_args(Pooled) or not steps or steps[0][0] != "linear":
            raise ValueError(f"no such head: {[kind for kind, _ in steps]}, {pooling}")
        self.steps, self.pooling = list(steps), pooling
        self.width = int(steps[0][1][0].shape[1])

    def __call__(self, _texts: Sequence[str], rows: Sequence[Floats]) -> Floats:
        """Logits [n, k] of what vLLM gave of each text."""
        parts = [row.reshape(-1, self.width) for row in rows]
        if self.pooling == "max":
            return np.stack([self.logits(part).max(axis=0) for part in parts])
        if self.pooling == "max-hidden":
            parts = [part.max(axis=0, keepdims=True) for part in parts]
        return self.logits(np.concatenate(parts))

    def logits(self, hidden: Floats) -> Floats:
        """Hidden states [n, d] to logits [n, k]."""
        for kind, arrays in self.steps:
            if kind == "linear":
                hidden = hidden @ arrays[0].T
                if len(arrays) > 1:
                    hidden = hidden + arrays[1]
            elif kind == "gelu":
                from scipy.special import erf

                hidden = hidden * (np.float32(0.5) * (1 + erf(hidden / np.float32(np.sqrt(2)))))
            elif kind == "attend":
                hidden = _attend(hidden, *arrays)
            else:
                lengths = np.linalg.norm(hidden, axis=-1, keepdims=True)
                hidden = hidden / np.maximum(lengths, np.float32(1e-12))
        return np.asarray(hidden, np.float32)

    def save(self, folder: Path) -> None:
        """Write it into the folder of an export."""
        from safetensors.numpy import save_file

        about = {"steps": [[kind, len(arrays)] for kind, arrays in self.steps], "pooling": self.pooling}
        tensors = {
            f"{step}.{at}": np.ascontiguousarray(array)
            for step, (_, arrays) in enumerate(self.steps)
            for at, array in enumerate(arrays)
        }
        (folder / FOLDER).mkdir()
        save_file(tensors, str(folder / FOLDER / _FILE), metadata={"labelspace": json.dumps(about)})

    @classmethod
    def load(cls, folder: Path) -> OuterHead:
        """Read it from the folder of an export.

        Raises:
            DataError: It is not there, or damaged.
        """
        from safetensors import SafetensorError, safe_open

        path = folder / FOLDER / _FILE
        try:
            with safe_open(str(path), framework="np") as file:
                about = json.loads(file.metadata()["labelspace"])
                steps = [
                    (str(kind), [file.get_tensor(f"{step}.{at}") for at in range(count)])
                    for step, (kind, count) in enumerate(about["steps"])
                ]
            return cls(steps, pooling=about["pooling"])
        except (OSError, SafetensorError, KeyError, IndexError, TypeError, ValueError) as error:
            raise DataError(f"holds no head: {error}", path=str(path), advice="export the model again") from error


def _attend(queries: Floats, keys: Floats, values: Floats, mask: Floats, numbers: Floats) -> Floats:
    """Cosines of queries [n, d] with what they attend to in each label's words, as `DescriptionHead` has it."""
    labels, words, width = keys.shape
    shape = (-1, labels, words)
    scores = (queries @ keys.reshape(-1, width).T).reshape(shape) * numbers[0] / np.float32(np.sqrt(width)) + mask
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    products = (weights * (queries @ values.reshape(-1, width).T).reshape(shape)).sum(axis=-1)
    gram = np.einsum("kmd,kpd->kmp", values, values)
    lengths = np.sqrt(np.maximum(np.einsum("nkm,kmp,nkp->nk", weights, gram, weights, optimize=True), 1e-12))
    cosines = products / lengths / np.maximum(np.linalg.norm(queries, axis=-1, keepdims=True), 1e-6)
    found: Floats = cosines * numbers[1] + numbers[2]
    return found


class Neighbours:
    """A head over text embeddings: nearest neighbours, or another."""

    def __init__(self, folder: Path) -> None:
        """Read it; its embedder is not loaded, as vLLM is that.

        Raises:
            DataError: There is none, or it is damaged.
        """
        from labelspace.finetune.store import load_classifier

        self._given = _Given()
        self._head = load_classifier(folder / FOLDER, embedder=self._given, cached=False).head

    def __call__(self, texts: Sequence[str], rows: Sequence[Floats]) -> npt.NDArray[np.floating[Any]]:
        """Probabilities [n, k]."""
        self._given.rows = np.stack(rows)
        return self._head.predict_proba(texts)


class _Given:
    """Stands where the embedder was: gives what vLLM has given."""

    name = version = "given"
    rows: Floats

    def embed(self, _texts: Sequence[str]) -> Floats:
        from labelspace.embed.base import unit_rows

        rows: Floats = unit_rows(self.rows)
        return rows


def outer_head(folder: Path) -> Apply:
    """The head in the folder of an export."""
    return Neighbours(folder) if (folder / FOLDER / _STORED).exists() else OuterHead.load(folder)
