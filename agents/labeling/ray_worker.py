"""What a Ray actor does: label one partition after the other, and tell the others what they must know."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelspace.agents.labeling.labeler import Labeler
from labelspace.data import read_records, write_predictions
from labelspace.errors import JournalError, LabelspaceError
from labelspace.llm.budget import Cap
from labelspace.space import LabelSpace

_ATTEMPTS = 5
"""Times that a partition is begun in one run; one whose actors die each time is given up."""
_LOCKED = 120.0
"""Seconds to wait for the journal of an actor that is dying."""


@dataclass(frozen=True)
class Partition:
    """A part of the input, and the files that belong to it."""

    folder: Path
    number: int
    rows: int

    def path(self, what: str) -> Path:
        """`texts.parquet`, `journal.sqlite` or `labels.jsonl` of this partition."""
        return self.folder / f"part-{self.number:05d}.{what}"


@dataclass(frozen=True)
class Board:
    """What those who label tell each other in one run, in files of the folder that all of them see."""

    folder: Path

    def wipe(self) -> None:
        """Forget what an earlier run said."""
        for said in [*self.folder.glob("*.begun"), *self.folder.glob("*.failed"), self.folder / "closed"]:
            said.unlink(missing_ok=True)

    def close(self, why: str) -> None:
        """Nothing more may be asked."""
        (self.folder / "closed").write_text(why, encoding="utf-8")

    @property
    def closed(self) -> str | None:
        """Why nothing more may be asked, where that is so."""
        said = self.folder / "closed"
        return said.read_text(encoding="utf-8") if said.exists() else None

    def begin(self, partition: Partition) -> int:
        """Note that a partition is begun; returns how often it was, now included."""
        path = partition.path("begun")
        with path.open("ab") as file:
            file.write(b".")
        return path.stat().st_size

    @property
    def failed(self) -> int:
        """Rows that failed in this run, in the partitions that are done."""
        return sum(int(path.read_text()) for path in self.folder.glob("*.failed"))


class Worker:
    """What an actor does: label one partition after the other."""

    def __init__(self, folder: str, space: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """Take the folder, and a label space and the settings of a `Labeler`, as plain data."""
        self._folder, self._settings = Path(folder), settings
        self._space = LabelSpace.from_data(dict(space))

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Label the partitions of a batch: columns of their numbers and budgets in, of results as JSON out."""
        asked = zip(batch["number"], batch["rows"], batch["budget"], strict=True)
        results = [
            self.label(Partition(self._folder, int(number), int(rows)), Cap(**json.loads(str(budget))))
            for number, rows, budget in asked
        ]
        return {"number": list(batch["number"]), "result": [json.dumps(result, default=str) for result in results]}

    def label(self, partition: Partition, budget: Cap) -> dict[str, Any]:
        """Label a partition, from where its journal leaves off.

        Args:
            partition: Which.
            budget: The most that its journal may cost.
        """
        board = Board(self._folder)
        if board.begin(partition) > _ATTEMPTS:
            return {"error": f"part {partition.number} can't be labelled: its workers died {_ATTEMPTS} times"}
        engine = {**self._settings["engine"], "budget": None if budget == Cap() else budget}
        if engine.get("max_errors") is not None:
            engine["max_errors"] = max(0, engine["max_errors"] - board.failed)
        labeler = Labeler(
            self._space,
            journal=partition.path("journal.sqlite"),
            set_aside=True,
            closed=board.closed,
            **{**self._settings, "engine": engine},
        )
        end = time.monotonic() + _LOCKED
        while True:
            try:
                records = read_records(partition.path("texts.parquet"), id_column="id", text_column="text")
                write_predictions(partition.path("labels.jsonl"), labeler, records, shown=False)
            except JournalError as error:
                if "in use" in str(error) and time.monotonic() < end:
                    time.sleep(0.5)
                    continue
                return {"error": str(error), "account": labeler.account}
            except LabelspaceError as error:
                return {"error": str(error), "account": labeler.account}
            partition.path("failed").write_text(str(labeler.account.get("failed_now", 0)))
            return {"error": None, "stopped": labeler.stopped, "account": labeler.account}
