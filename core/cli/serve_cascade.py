"""What the options of a cascade make of `labelspace serve`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelspace.errors import ConfigError

if TYPE_CHECKING:
    from labelspace.serve.cascade import Cascade
    from labelspace.serve.counts import Counts
    from labelspace.serve.guard import Limits
    from labelspace.serve.served import Served

_SECONDS, _SHARE = 20.0, 0.8
"""For an answer of what is asked: so many, and no more than a share of what the caller waits for."""


@dataclass(frozen=True)
class Cascading:
    """What the options of a cascade say."""

    tuned: str
    """What `labelspace cascade tune` wrote."""
    model: str | None
    """What is asked where the head is not sure."""
    budget: str | None
    per_minute: int | None
    journal: str | None


@contextmanager
def cascading(asked: Cascading | None, served: Served, counts: Counts, limits: Limits) -> Iterator[Cascade | None]:
    """What completes the answers of a head, if anything does.

    Raises:
        ConfigError: A text can have several labels.
        DataError: The point was tuned for another label space.
    """
    if asked is None:
        yield None
        return
    from labelspace.agents.labeling.second_opinion import SecondOpinion
    from labelspace.finetune.cascade import load_point
    from labelspace.serve.cascade import Cascade

    if served.multi_label:
        raise ConfigError("a cascade is for spaces with one label a text")
    point = load_point(asked.tuned, served.space)
    with tempfile.TemporaryDirectory(prefix="labelspace-cascade-") as folder:
        second = None
        if asked.model is not None:
            second = SecondOpinion(
                served.space,
                asked.model,
                journal=asked.journal or Path(folder) / "replies.sqlite",
                budget=asked.budget,
                per_minute=asked.per_minute,
                seconds=min(_SECONDS, _SHARE * limits.answer_seconds),
            )
        yield Cascade(point.limit, second, counts=counts)
