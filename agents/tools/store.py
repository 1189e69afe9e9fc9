"""A trained retriever as a folder of JSON, JSONL and safetensors: nothing in it is code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from labelspace.agents.tools.bm25 import BM25
from labelspace.agents.tools.choose import Thresholds, ToolChooser
from labelspace.agents.tools.fusion import Fusion
from labelspace.agents.tools.linear import LinearMLC
from labelspace.agents.tools.neighbours import Nearest, Neighbours, Wording
from labelspace.agents.tools.retriever import LastSeen, Retriever, Scored, Scorer
from labelspace.agents.tools.tool2vec import Descriptions, Tool2Vec
from labelspace.agents.tools.toolset import ToolSet
from labelspace.agents.tools.usage import Usage
from labelspace.embed import load_embedder
from labelspace.embed.base import Embedder
from labelspace.embed.tfidf import TfidfEmbedder
from labelspace.errors import ConfigError

FORMAT = 1
HEAD, TENSORS, TOOLS = "retriever.json", "retriever.safetensors", "tools.jsonl"
Load = Callable[[Path], Scorer]
"""Reads a scorer that was trained elsewhere from its folder."""


def save_retriever(
    folder: str | Path,
    retriever: Retriever,
    tools: ToolSet,
    embedder: Embedder,
    *,
    chooser: ToolChooser | None = None,
    card: Mapping[str, Any] | None = None,
) -> None:
    """Write a retriever; a scorer that was trained elsewhere must lie in a folder of its stage's name already.

    Args:
        folder: Made if need be.
        retriever: A stage, or a fusion of stages.
        tools: Its tools.
        embedder: What it embeds by.
        chooser: Its thresholds, if there are any.
        card: What it was made of, for the reader.
    """
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    fused = isinstance(retriever, Fusion)
    stages = retriever.stages if isinstance(retriever, Fusion) else (retriever,)
    tensors: dict[str, Any] = {}
    kept = []
    for place, stage in enumerate(stages):
        data, arrays = _take_apart(stage)
        kept.append({"name": stage.name, **data})
        tensors |= {f"{place}.{key}": np.ascontiguousarray(value) for key, value in arrays.items()}
    inner = embedder.inner if isinstance(embedder, LastSeen) else embedder
    described: Any = inner.name
    if isinstance(inner, TfidfEmbedder):
        arrays, described = inner.to_tensors()
        tensors |= {f"embedder.{key}": value for key, value in arrays.items()}
    head = {
        "format": FORMAT,
        "embedder": described,
        "stages": kept,
        "weights": list(retriever.weights) if isinstance(retriever, Fusion) and fused else None,
        "thresholds": None if chooser is None else asdict(chooser.thresholds),
        "card": dict(card or {}),
    }
    save_file(tensors or {"none": np.zeros(1, np.float32)}, str(folder / TENSORS))
    tools.save(folder / TOOLS)
    (folder / HEAD).write_text(json.dumps(head, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def load_retriever(
    folder: str | Path, *, load: Load | None = None, cache: Path | None = None
) -> tuple[Retriever, ToolSet, ToolChooser | None]:
    """Read what `save_retriever` wrote.

    Args:
        folder: The folder.
        load: Reads scorers that were trained elsewhere; None if there are none.
        cache: Folder that keeps embeddings.

    Returns:
        The retriever, its tools, and the chooser if thresholds were saved.

    Raises:
        ConfigError: The folder holds no retriever, or one that can't be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = Path(folder)
    try:
        head = json.loads((folder / HEAD).read_text(encoding="utf-8"))
        tensors = load_file(str(folder / TENSORS))
    except FileNotFoundError:
        raise ConfigError(f"{folder}: holds no retriever; make one with `labelspace tools train`") from None
    except (OSError, ValueError, SafetensorError) as error:
        raise ConfigError(f"{folder}: the retriever can't be read: {error}; train it again") from error
    if head.get("format") != FORMAT:
        raise ConfigError(f"{folder}: a retriever of format {head.get('format')!r} can't be read; train it again")
    tools = ToolSet.load(folder / TOOLS)
    described = head["embedder"]
    embedder: Embedder
    if isinstance(described, dict):
        embedder = TfidfEmbedder.from_tensors(_under(tensors, "embedder"), described)
    else:
        embedder = load_embedder(described, cache=cache)
    shared = LastSeen(embedder)
    stages = [
        _put_together(stage, _under(tensors, str(place)), tools=tools, embedder=shared, folder=folder, load=load)
        for place, stage in enumerate(head["stages"])
    ]
    retriever = stages[0] if head["weights"] is None else Fusion(stages, head["weights"])
    limits = head["thresholds"]
    return retriever, tools, None if limits is None else ToolChooser(retriever, Thresholds(**limits))


def _under(tensors: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(f"{name}.")}


def _take_apart(stage: Retriever) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plain data and arrays of a stage."""
    if isinstance(stage, BM25):
        return {"kind": "bm25", "k1": stage.k1, "b": stage.b, "usages": _as_rows(stage.usages)}, {}
    if isinstance(stage, Tool2Vec):
        data = {"kind": "tool2vec", "normalise": stage.normalise, "index": stage.kind}
        return data, {"sums": stage.sums, "counts": stage.counts}
    if isinstance(stage, Descriptions):
        return {"kind": "descriptions", "index": stage.kind}, {}
    if isinstance(stage, Neighbours):
        data = {"kind": "neighbours", "k": stage.k, "sharpness": stage.sharpness, "needs": stage.needs}
        return data, {"vectors": stage.vectors}
    if isinstance(stage, Nearest):
        return {"kind": "nearest", "needs": stage.needs}, {"vectors": stage.vectors}
    if isinstance(stage, Wording):
        data = {"kind": "wording", "k": stage.k, "sharpness": stage.sharpness}
        return {**data, "usages": _as_rows(stage.usages)}, {}
    if isinstance(stage, LinearMLC):
        return {"kind": "mlc"}, {"weights": stage.weights, "bias": stage.bias}
    if isinstance(stage, Scored):
        return {"kind": "scored"}, {}
    raise ConfigError(f"the stage {stage.name!r} can't be saved")


def _as_rows(usages: Sequence[Usage]) -> list[list[Any]]:
    return [[usage.query, list(usage.tools)] for usage in usages]


def _of_rows(rows: Sequence[Sequence[Any]]) -> list[Usage]:
    return [Usage(query, tuple(needed)) for query, needed in rows]


def _put_together(
    data: Mapping[str, Any],
    arrays: Mapping[str, Any],
    *,
    tools: ToolSet,
    embedder: Embedder,
    folder: Path,
    load: Load | None,
) -> Retriever:
    """A stage from its plain data and arrays."""
    kind = data["kind"]
    made: Retriever | None = None
    if kind == "bm25":
        made = BM25(tools, _of_rows(data["usages"]), k1=data["k1"], b=data["b"])
    elif kind == "tool2vec":
        made = Tool2Vec(
            tools,
            embedder,
            sums=arrays["sums"],
            counts=arrays["counts"].tolist(),
            normalise=data["normalise"],
            index=data["index"],
        )
    elif kind == "descriptions":
        made = Descriptions(tools, embedder, index=data["index"])
    elif kind in ("neighbours", "nearest"):
        usages = [Usage("", tuple(tools.names[i] for i in row)) for row in data["needs"]]
        if kind == "nearest":
            made = Nearest(tools, usages, embedder, vectors=arrays["vectors"])
        else:
            near = {"k": data["k"], "sharpness": data["sharpness"]}
            made = Neighbours(tools, usages, embedder, vectors=arrays["vectors"], **near)
    elif kind == "wording":
        made = Wording(tools, _of_rows(data["usages"]), k=data["k"], sharpness=data["sharpness"])
    elif kind == "mlc":
        made = LinearMLC(tools, embedder, arrays["weights"], arrays["bias"])
    elif kind == "scored" and load is not None:
        made = Scored(tools.space, load(folder / data["name"]), name=data["name"])
    if made is None:
        raise ConfigError(f"{folder}: has a stage of kind {kind!r}, which can't be read here")
    made.name = data["name"]
    return made
