"""Stages of a retriever as plain data and arrays, and back: what `store` writes and reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelspace.agents.tools.bm25 import BM25
from labelspace.agents.tools.clauses import Clauses
from labelspace.agents.tools.cold import ColdStart
from labelspace.agents.tools.fusion import Fusion
from labelspace.agents.tools.linear import LinearMLC
from labelspace.agents.tools.neighbours import Nearest, Neighbours, Wording
from labelspace.agents.tools.refine import Refined
from labelspace.agents.tools.retriever import Retriever, Scored
from labelspace.agents.tools.tool2vec import Descriptions, Tool2Vec
from labelspace.agents.tools.toolset import ToolSet
from labelspace.agents.tools.usage import Usage
from labelspace.agents.tools.wording_mlc import WordingMLC
from labelspace.embed.base import Embedder
from labelspace.errors import ConfigError

Load = Callable[[Path], Any]
"""Reads what was trained elsewhere from its folder: a scorer, an encoder, a refiner."""
REFINER = "refiner"
"""Folder of a refiner within that of its retriever."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where stages are put together."""

    tools: ToolSet
    embedder: Embedder
    folder: Path
    load: Load | None


def under(tensors: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The arrays whose names begin so, without it."""
    return {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(f"{name}.")}


def take_apart(stage: Retriever) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plain data and arrays of a stage, with those of the stages within it.

    Raises:
        ConfigError: It is of a kind that can't be saved.
    """
    data, arrays, inner = _take_apart(stage)
    for place, part in enumerate(inner):
        kept, within = take_apart(part)
        data.setdefault("stages", []).append(kept)
        arrays |= {f"{place}.{key}": value for key, value in within.items()}
    return {"name": stage.name, **data}, arrays


def put_together(data: Mapping[str, Any], arrays: Mapping[str, Any], place: Place) -> Retriever:
    """A stage from its plain data and arrays.

    Raises:
        ConfigError: It is of a kind that can't be read here.
    """
    inner = [put_together(part, under(arrays, str(at)), place) for at, part in enumerate(data.get("stages", ()))]
    made = _of_stages(data, inner, place) if inner else _put_together(data, arrays, place)
    if made is None:
        raise ConfigError(f"{place.folder}: has a stage of kind {data['kind']!r}, which can't be read here")
    made.name = data["name"]
    return made


def _take_apart(stage: Retriever) -> tuple[dict[str, Any], dict[str, Any], Sequence[Retriever]]:
    """Plain data and arrays of a stage, and the stages within it."""
    if isinstance(stage, Fusion):
        return {"kind": "fusion", "weights": list(stage.weights)}, {}, stage.stages
    if isinstance(stage, Clauses):
        return {"kind": "clauses", "weights": stage.weights}, {}, (stage.inner,)
    if isinstance(stage, Refined):
        return {"kind": "refined", "weights": list(stage.weights)}, {}, (stage.first,)
    if isinstance(stage, ColdStart):
        cold = [name for name, unused in zip(stage.tools, stage.cold, strict=True) if unused]
        return {"kind": "cold", "cold": cold}, {}, (stage.trained, stage.plain)
    return *_alone(stage), ()


def _alone(stage: Retriever) -> tuple[dict[str, Any], dict[str, Any]]:
    if isinstance(stage, BM25):
        return {"kind": "bm25", "k1": stage.k1, "b": stage.b, "usages": _as_rows(stage.usages)}, {}
    if isinstance(stage, Tool2Vec):
        data = {"kind": "tool2vec", "normalise": stage.normalise, "index": stage.kind}
        plain = {} if stage.plain is None else {"plain": stage.plain}
        return data, {"sums": stage.sums, "counts": stage.counts, **plain}
    if isinstance(stage, Descriptions):
        return {"kind": "descriptions", "index": stage.kind}, {"vectors": stage.vectors}
    if isinstance(stage, Neighbours):
        data = {"kind": "neighbours", "k": stage.k, "sharpness": stage.sharpness, "needs": stage.needs}
        return data, {"vectors": stage.vectors}
    if isinstance(stage, Nearest):
        return {"kind": "nearest", "needs": stage.needs}, {"vectors": stage.vectors}
    if isinstance(stage, Wording):
        data = {"kind": "wording", "k": stage.k, "sharpness": stage.sharpness}
        return {**data, "usages": _as_rows(stage.usages)}, {}
    if isinstance(stage, WordingMLC):
        data, _ = _alone(stage.wording)
        return {**data, "kind": "wording-mlc"}, {"dual": stage.dual}
    if isinstance(stage, LinearMLC):
        return {"kind": "mlc"}, {"weights": stage.weights, "bias": stage.bias}
    if isinstance(stage, Scored):
        return {"kind": "scored"}, {}
    raise ConfigError(f"the stage {stage.name!r} can't be saved")


def _as_rows(usages: Sequence[Usage]) -> list[list[Any]]:
    return [[usage.query, list(usage.tools)] for usage in usages]


def _of_rows(rows: Sequence[Sequence[Any]]) -> list[Usage]:
    return [Usage(query, tuple(needed)) for query, needed in rows]


def _of_stages(data: Mapping[str, Any], inner: Sequence[Retriever], place: Place) -> Retriever | None:
    """A stage that is made of others; None if it is of an unknown kind."""
    if data["kind"] == "fusion":
        return Fusion(inner, data["weights"])
    if data["kind"] == "clauses":
        return Clauses(inner[0], data["weights"])
    if data["kind"] == "cold":
        return ColdStart(inner[0], inner[1], data["cold"])
    if data["kind"] == "refined" and place.load is not None:
        one, two = data["weights"]
        return Refined(inner[0], place.load(place.folder / REFINER), (one, two))
    return None


def _put_together(data: Mapping[str, Any], arrays: Mapping[str, Any], place: Place) -> Retriever | None:
    """A stage by itself; None if it is of an unknown kind."""
    tools, embedder, kind = place.tools, place.embedder, data["kind"]
    made: Retriever | None = None
    if kind == "bm25":
        made = BM25(tools, _of_rows(data["usages"]), k1=data["k1"], b=data["b"])
    elif kind == "tool2vec":
        made = Tool2Vec(
            tools,
            embedder,
            sums=arrays["sums"],
            counts=arrays["counts"].tolist(),
            plain=arrays.get("plain"),
            normalise=data["normalise"],
            index=data["index"],
        )
    elif kind == "descriptions":
        made = Descriptions(tools, embedder, vectors=arrays.get("vectors"), index=data["index"])
    elif kind in ("neighbours", "nearest"):
        usages = [Usage("", tuple(tools.names[i] for i in row)) for row in data["needs"]]
        if kind == "nearest":
            made = Nearest(tools, usages, embedder, vectors=arrays["vectors"])
        else:
            near = {"k": data["k"], "sharpness": data["sharpness"]}
            made = Neighbours(tools, usages, embedder, vectors=arrays["vectors"], **near)
    elif kind in ("wording", "wording-mlc"):
        wording = Wording(tools, _of_rows(data["usages"]), k=data["k"], sharpness=data["sharpness"])
        made = WordingMLC(wording, arrays["dual"]) if kind == "wording-mlc" else wording
    elif kind == "mlc":
        made = LinearMLC(tools, embedder, arrays["weights"], arrays["bias"])
    elif kind == "scored" and place.load is not None:
        made = Scored(tools.space, place.load(place.folder / data["name"]), name=data["name"])
    return made
