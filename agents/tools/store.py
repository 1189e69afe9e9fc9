"""A trained retriever as a folder of JSON, JSONL and safetensors: nothing in it is code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from labelspace.agents.tools.choose import Thresholds, ToolChooser
from labelspace.agents.tools.fusion import Fusion
from labelspace.agents.tools.retriever import LastSeen, Retriever
from labelspace.agents.tools.store_stages import Load, Place, put_together, take_apart, under
from labelspace.agents.tools.toolset import ToolSet
from labelspace.embed import load_embedder
from labelspace.embed.base import Embedder
from labelspace.embed.tfidf import TfidfEmbedder
from labelspace.errors import ConfigError

FORMAT = 1
HEAD, TENSORS, TOOLS = "retriever.json", "retriever.safetensors", "tools.jsonl"


def save_retriever(
    folder: str | Path,
    retriever: Retriever,
    tools: ToolSet,
    embedder: Embedder,
    *,
    chooser: ToolChooser | None = None,
    card: Mapping[str, Any] | None = None,
    trained: str | None = None,
) -> None:
    """Write a retriever; what was trained elsewhere must lie in its folder already.

    A scorer lies in a folder of its stage's name, a refiner in `refiner`.

    Args:
        folder: Made if need be.
        retriever: A stage, or a fusion of stages.
        tools: Its tools.
        embedder: What it embeds by.
        chooser: Its thresholds, if there are any.
        card: What it was made of, for the reader.
        trained: Folder of the embedder within `folder`, if it was trained for this retriever.
    """
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = list(retriever.weights) if isinstance(retriever, Fusion) else None
    stages = retriever.stages if isinstance(retriever, Fusion) else (retriever,)
    tensors: dict[str, Any] = {}
    kept = []
    for place, stage in enumerate(stages):
        data, arrays = take_apart(stage)
        kept.append(data)
        tensors |= {f"{place}.{key}": np.ascontiguousarray(value) for key, value in arrays.items()}
    inner = embedder.inner if isinstance(embedder, LastSeen) else embedder
    described: Any = inner.name if trained is None else {"trained": trained}
    if isinstance(inner, TfidfEmbedder):
        arrays, described = inner.to_tensors()
        tensors |= {f"embedder.{key}": value for key, value in arrays.items()}
    head = {
        "format": FORMAT,
        "embedder": described,
        "stages": kept,
        "weights": weights,
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
        load: Reads what was trained elsewhere; None if there is none.
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
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        given = head.get("format") if isinstance(head, dict) else None
        raise ConfigError(f"{folder}: a retriever of format {given!r} can't be read; train it again")
    tools = ToolSet.load(folder / TOOLS)
    try:
        return _put_together(folder, head, tensors, tools, load=load, cache=cache)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{folder}: the retriever is damaged ({type(error).__name__}: {error}); train it again"
        ) from error


def _put_together(
    folder: Path,
    head: Mapping[str, Any],
    tensors: Mapping[str, Any],
    tools: ToolSet,
    *,
    load: Load | None,
    cache: Path | None,
) -> tuple[Retriever, ToolSet, ToolChooser | None]:
    """The retriever from what its folder holds."""
    described = head["embedder"]
    embedder: Embedder
    if isinstance(described, dict) and "trained" in described:
        if load is None:
            raise ConfigError(f"{folder}: its encoder was trained for it and can't be read here")
        embedder = load(folder / described["trained"])
    elif isinstance(described, dict):
        embedder = TfidfEmbedder.from_tensors(under(tensors, "embedder"), described)
    else:
        embedder = load_embedder(described, cache=cache)
    place = Place(tools, LastSeen(embedder), folder, load)
    stages = [put_together(stage, under(tensors, str(at)), place) for at, stage in enumerate(head["stages"])]
    retriever = stages[0] if head["weights"] is None else Fusion(stages, head["weights"])
    limits = head["thresholds"]
    return retriever, tools, None if limits is None else ToolChooser(retriever, Thresholds(**limits))
