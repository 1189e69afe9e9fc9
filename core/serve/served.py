"""What a server has to be told besides weights: label names, thresholds, the label space, and how to ask.

It lies as `labelspace.json` in the folder of an exported model, and a server tells it at `/labelspace`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from labelspace.errors import DataError, LabelspaceError
from labelspace.space import LabelSpace

FILE = "labelspace.json"
FORMAT = 1
Task = Literal["classify", "token_classify"]
Asks = Literal["classify", "token_classify", "embed", "token_embed"]


@dataclass(frozen=True)
class Served:
    """A classifier as others see it."""

    model: str
    """What it is called on the server."""
    head: str
    """Kind of head."""
    space: LabelSpace
    names: tuple[str, ...]
    """Of the labels, in the order of the probabilities."""
    thresholds: tuple[float, ...] | None = None
    """Probability from which on each label is given; None where a text has one label, the likeliest."""
    task: Task = "classify"
    """Labels for texts, or tags for words."""
    asks: Asks = "classify"
    """What vLLM is asked for. Vectors of texts or of tokens are what a head that lies beside goes on with."""
    temperature: float = 1.0
    """By which the logits of the model were divided; it is worked into the weights that are served."""
    truncate: int | None = None
    """Tokens kept of a text by vLLM, its soft prompt counted; None where the server cuts by itself."""
    empty: tuple[int, ...] | None = None
    """Tokens that vLLM is sent for a text that has none: it refuses an empty one."""
    logits: bool = False
    """Whether to ask vLLM for logits: the activation in the config of a shared base need not be this head's."""
    sends_ids: bool = False
    """Whether texts go to vLLM as the ids of the tokenizer that lies beside: a soft prompt on a shared base."""
    decoding: str | None = None
    """How the logits of words become tags."""
    flags: tuple[str, ...] = ()
    """Arguments that `vllm serve` needs for it."""
    folder: Path | None = field(default=None, compare=False)
    """Where it was read, with all that lies beside it."""

    @property
    def multi_label(self) -> bool:
        """Whether a text can have several labels, or none."""
        return self.thresholds is not None

    def for_callers(self) -> Served:
        """Without how to ask vLLM: to callers of our server, texts are cut and completed there."""
        return replace(
            self, asks="classify", truncate=None, empty=None, logits=False, sends_ids=False, flags=(), folder=None
        )

    @property
    def has_outer_head(self) -> bool:
        """Whether vLLM gives vectors, and the head is applied to them where they arrive."""
        return self.asks in ("embed", "token_embed")

    def to_data(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "format": FORMAT,
            "model": self.model,
            "head": self.head,
            "task": self.task,
            "labels": list(self.names),
            "multi_label": self.multi_label,
            "thresholds": None if self.thresholds is None else list(self.thresholds),
            "space_version": self.space.version,
            "space": self.space.to_data(),
            "vllm": {
                "truncate_prompt_tokens": self.truncate,
                "empty": None if self.empty is None else list(self.empty),
                "logits": self.logits,
                "asks": self.asks,
                "temperature": self.temperature,
                "sends_ids": self.sends_ids,
                "decoding": self.decoding,
                "flags": list(self.flags),
            },
        }

    @classmethod
    def from_data(cls, data: Any, *, origin: str) -> Served:
        """Read what `to_data` made.

        Args:
            data: The content.
            origin: Where it comes from, for errors.

        Raises:
            DataError: It is something else.
        """
        if not isinstance(data, Mapping) or data.get("format") != FORMAT or data.get("task") not in get_args(Task):
            raise DataError(
                f"is no served model of format {FORMAT}",
                path=origin,
                advice="use the version of labelspace that made it",
            )
        try:
            vllm, thresholds = data["vllm"], data["thresholds"]
            made = cls(
                model=str(data["model"]),
                head=str(data["head"]),
                space=LabelSpace.from_data(data["space"]),
                names=tuple(map(str, data["labels"])),
                thresholds=None if thresholds is None else tuple(map(float, thresholds)),
                task=data["task"],
                truncate=vllm["truncate_prompt_tokens"],
                empty=None if vllm["empty"] is None else tuple(vllm["empty"]),
                asks=vllm.get("asks", data["task"]),
                temperature=float(vllm.get("temperature", 1.0)),
                sends_ids=bool(vllm.get("sends_ids", False)),
                logits=bool(vllm["logits"]),
                decoding=vllm["decoding"],
                flags=tuple(map(str, vllm["flags"])),
            )
        except (KeyError, TypeError, ValueError, AttributeError, LabelspaceError) as error:
            raise DataError(f"is no description of a served model: {error!r}", path=origin) from error
        if made.asks not in get_args(Asks):
            raise DataError(f"asks vLLM for {made.asks!r}, which this version does not know", path=origin)
        if made.thresholds is not None and len(made.thresholds) != len(made.names):
            raise DataError(f"{len(made.thresholds)} thresholds for {len(made.names)} labels", path=origin)
        return made

    def save(self, folder: Path) -> None:
        """Write it into the folder of a model."""
        text = json.dumps(self.to_data(), ensure_ascii=False, indent=1)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Served:
        """Read it from the folder of an exported model.

        Raises:
            DataError: There is none.
        """
        path = Path(folder) / FILE
        try:
            return replace(cls.from_data(json.loads(path.read_bytes()), origin=str(path)), folder=Path(folder))
        except FileNotFoundError:
            raise DataError(
                f"holds no {FILE}, so it is no exported model",
                path=str(folder),
                advice="make one with: labelspace export MODEL_DIR --to vllm OUT",
            ) from None
        except (OSError, ValueError) as error:
            raise DataError(f"can't be read: {error}", path=str(path)) from error
