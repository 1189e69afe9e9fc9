"""What the server says of a text, and the reply that many of them make."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from labelspace.readout import give_labels
from labelspace.records import EMPTY_TEXT, Status
from labelspace.serve.served import Served

HEAD = "head"


@dataclass(slots=True)
class Answer:
    """What is said of one text."""

    row: Any
    """Probability of each label by the head [k]; None where the text is blank."""
    likeliest: str | None
    labels: list[str]
    confidence: float | None
    status: Status = "ok"
    reason: str | None = None
    answered_by: str = HEAD
    """The head, or the name of what was asked instead."""
    review: str | None = None
    """Why a person should look at it."""

    def to_data(self, index: int) -> dict[str, Any]:
        """As it stands in the reply."""
        return {
            "index": index,
            "label": self.likeliest,
            "labels": self.labels,
            "probs": () if self.row is None else self.row,
            "num_classes": 0 if self.row is None else len(self.row),
            "confidence": self.confidence,
            "status": self.status,
            "reason": self.reason,
            "answered_by": self.answered_by,
            "review": self.review,
        }


def read_answers(texts: Sequence[str], rows: Any, served: Served) -> list[Answer]:
    """What the head says.

    Args:
        texts: Of one request.
        rows: Probabilities [n, k] of those that are not blank.
        served: The head.
    """
    left, names, found = iter(rows), served.names, []
    for text in texts:
        if not text.strip():
            found.append(Answer(None, None, [], None, "abstained", EMPTY_TEXT))
            continue
        row = next(left)
        given, confidence = give_labels(row, served.thresholds)
        found.append(Answer(row, names[int(row.argmax())], [names[at] for at in given], confidence))
    return found


def write_reply(name: str, model: str, answers: Sequence[Answer], space: bytes) -> bytes:
    """The body of a reply.

    Args:
        name: Its id.
        model: Name of the model.
        answers: In the order of the texts.
        space: What the answers mean, as JSON.
    """
    return orjson.dumps(
        {
            "id": name,
            "object": "list",
            "created": int(time.time()),
            "model": model,
            "data": [one.to_data(at) for at, one in enumerate(answers)],
            "labelspace": orjson.Fragment(space),
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
