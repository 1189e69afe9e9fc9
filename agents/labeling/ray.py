"""Label on many cores or machines: Ray Data actors, each labeling partitions of the input with a journal of their own.

The input is cut into partitions, Parquet files in one folder that all machines see. An actor labels a
partition as one process would, and leaves a file of labels; the files are joined in the order of the
input. What a killed actor or machine has paid is in the partition's journal: whoever takes the
partition next goes on from there, so no row is lost, doubled, or asked about twice save those that
were in flight.

Through Ray itself go only numbers of partitions and figures. Rows are read and written by the actors:
Ray Data cuts files into blocks as it likes, and a block that it asks for again may be another one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from labelspace.agents.labeling.labeler import NOT_ASKED
from labelspace.agents.labeling.ray_account import add_up, share_of, spent_on, with_spent
from labelspace.agents.labeling.ray_cluster import import_ray, quieten, start_ray
from labelspace.agents.labeling.ray_worker import Board, Partition, Worker
from labelspace.data import RowWriter, write_rows
from labelspace.errors import ConfigError, ModelError
from labelspace.llm.budget import Cap
from labelspace.llm.journal import Spent
from labelspace.progress import Progress
from labelspace.records import Record
from labelspace.space import LabelSpace

PARTITION_ROWS = 10_000
_SPENT = "the budget of "


@dataclass
class Finished:
    """What became of a run."""

    counts: dict[str, int]
    account: dict[str, Any] = field(default_factory=dict)
    """What all engines counted, together."""
    stopped: str | None = None
    """Why it stopped early, where it did."""


def label_with_ray(
    space: LabelSpace,
    records: Iterable[Record],
    out: str,
    *,
    folder: str | Path,
    settings: Mapping[str, Any],
    workers: int | None = None,
    partition_rows: int = PARTITION_ROWS,
    address: str | None = None,
    progress: bool = False,
) -> Finished:
    """Label records in Ray Data actors and write them to one file, in order, as one process would.

    Args:
        space: The labels.
        records: What to label.
        out: Where labels go, as for `RowWriter`.
        folder: For partitions and journals; every machine of the cluster must see it under this name.
        settings: Further settings of the `Labeler`, as plain data. `budget`, `rpm`, `tpm` and a number
            for `concurrency` hold for all workers together.
        workers: Actors; by default one for each CPU of the cluster.
        partition_rows: Rows that an actor takes at a time.
        address: A Ray cluster; by default RAY_ADDRESS, and where that is not set, one on this machine.
        progress: Whether to show progress on stderr.

    Raises:
        MissingExtra: Ray is not installed.
        ModelError: The model can't be used, and nothing was done.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    ray = import_ray(address)
    if partition_rows < 1 or (workers is not None and workers < 1):
        raise ConfigError(f"workers and rows of a partition are 1 or more, not {workers} and {partition_rows}")
    partitions = list(_cut(records, Path(folder).absolute(), partition_rows))
    began = not ray.is_initialized()
    if began:
        start_ray(ray, address, workers)
    try:
        run = _Run(ray, Path(folder).absolute(), space, settings, workers or int(ray.cluster_resources().get("CPU", 1)))
        run.label(partitions, shown=progress)
    finally:
        if began:
            ray.shutdown()
    counts = {"rows": 0, "ok": 0, "abstained": 0, "failed": 0}
    with RowWriter(out) as writer:
        for row in _joined(partitions):
            if (row.get("reason") or "").startswith(NOT_ASKED + _SPENT):  # that was the partition's share of it
                row["reason"] = NOT_ASKED + (run.stopped or "").partition(";")[0]
            writer.write(row)
            counts["rows"] += 1
            counts[row["status"]] += 1
    return Finished(counts, run.account, run.stopped)


def _cut(records: Iterable[Record], folder: Path, rows: int) -> Iterator[Partition]:
    """Write the partitions; ids are settled here, where all of them are seen."""
    left = iter(records)
    number = 0
    while part := list(islice(left, rows)):
        partition = Partition(folder, number, len(part))
        write_rows(partition.path("texts.parquet"), ({"id": record.id, "text": record.text} for record in part))
        yield partition
        number += 1


def _joined(partitions: Iterable[Partition]) -> Iterator[dict[str, Any]]:
    import orjson

    for partition in partitions:
        with partition.path("labels.jsonl").open("rb") as file:
            for line in file:
                yield orjson.loads(line)


class _Run:
    """Has partitions labelled until all are done."""

    def __init__(self, ray: Any, folder: Path, space: LabelSpace, settings: Mapping[str, Any], workers: int) -> None:
        self._ray, self._board, self._space, self._workers = ray, Board(folder), space.to_data(), workers
        engine = dict(settings.get("engine") or {})
        self._cap, self._max_errors = Cap.parse(engine.pop("budget", None)), engine.get("max_errors")
        for rate in ("rpm", "tpm"):
            if engine.get(rate) is not None:
                engine[rate] /= workers
        self._settings = {**settings, "engine": engine}
        if isinstance(settings.get("concurrency"), int):
            self._settings["concurrency"] = max(1, settings["concurrency"] // workers)
        self.account: dict[str, Any] = {}
        self.stopped: str | None = None
        self._done = self._failed = 0

    def label(self, partitions: list[Partition], *, shown: bool) -> None:
        """Label all partitions, as far as the budget goes."""
        self._board.wipe()
        spent = {partition.number: spent_on(partition) for partition in partitions}
        with Progress("label", total=sum(partition.rows for partition in partitions), shown=shown) as bar:
            share = None if self._cap is None else share_of(self._cap, spent.values(), len(partitions))
            again, short = self._round(partitions, spent, share, bar)
            if again:  # for what their journals have
                again, more = self._round(again, spent, share, bar)
                short += more
            # What one partition did not need may be what another lacks.
            for partition in list(short) if self._board.closed is None else ():
                assert self._cap is not None
                now = {one.number: spent_on(one) for one in partitions}
                left = share_of(self._cap, now.values(), 1)
                if any(part is not None and part <= 0 for part in (left.money, left.tokens, left.calls)):
                    break
                if not any(self._round([partition], now, left, None)):
                    short.remove(partition)
        self.stopped = self._board.closed
        if short and self.stopped is None:
            self.stopped = f"the budget of {self._cap} is spent; everything paid is kept, raise the budget to go on"

    def _round(
        self, partitions: list[Partition], spent: Mapping[int, Spent], share: Cap | None, bar: Progress | None
    ) -> tuple[list[Partition], list[Partition]]:
        """Label partitions; returns those that broke, and those that ran out of budget."""
        if not partitions:
            return [], []
        by_number = {partition.number: partition for partition in partitions}
        rows = []
        for partition in partitions:
            budget = Cap() if share is None else with_spent(share, spent[partition.number])
            rows.append({"number": partition.number, "rows": partition.rows, "budget": json.dumps(asdict(budget))})
        data, errors = self._ray.data, self._ray.exceptions
        quieten(data)
        pool = data.ActorPoolStrategy(size=min(self._workers, len(partitions)), max_tasks_in_flight_per_actor=1)
        labelled = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Worker,
            fn_constructor_args=(str(self._board.folder), self._space, self._settings),
            batch_size=1,
            batch_format="numpy",
            compute=pool,
            num_cpus=1,
        )
        again, short = [], []
        try:
            for row in labelled.iter_rows():
                partition, result = by_number[int(row["number"])], json.loads(row["result"])
                broke, ran_out = self._take(result)
                again += [partition] * broke
                short += [partition] * ran_out
                if bar is not None and not broke:
                    bar.advance(partition.rows)
        except errors.RayError as error:
            raise ModelError(f"Ray can't label ({' '.join(str(error).split())[:300]})") from error
        return again, short

    def _take(self, result: Mapping[str, Any]) -> tuple[bool, bool]:
        """Count a partition's result; returns whether it broke, and whether it ran out of budget."""
        account = result.get("account") or {}
        add_up(self.account, account)
        self._done += account.get("ok", 0)
        self._failed += account.get("failed_now", 0)
        broke, closed = result["error"], self._board.closed
        if broke is not None and (not self._done or closed is not None):
            raise ModelError(broke)
        why = broke or result["stopped"]
        if broke is None and why is not None and why.startswith(_SPENT):
            return False, True
        if why is None and self._max_errors is not None and self._failed > self._max_errors:
            why = f"more than {self._max_errors} rows failed (max_errors)"
        if why is not None and closed is None:
            self._board.close(why)
        return broke is not None, False
