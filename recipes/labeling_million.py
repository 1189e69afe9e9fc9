"""A million rows in one run of `labelspace label`, and a rerun that reads the journal only.

    labelspace run labeling_million
    labelspace run labeling_million rows=20000

A server on loopback, in a process of its own, answers every request with the same label at once. The
command runs in a process of its own too, twice: first it asks for every row, then it has nothing left
to ask. Peak memory is that of the whole process.

Prints (two idle CPU cores, 4 min):
    asked     1,000,000 rows in   188.5 s:   5,305 rows/s, at most  105 MB, 1,000,000 calls
    journal  123 MB, 123 bytes a row
    replayed  1,000,000 rows in    32.4 s:  30,860 rows/s, at most  100 MB, 0 calls
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import click

from labelspace.config import Config
from labelspace.data import write_rows
from labelspace.recipes._memory import peak_megabytes
from labelspace.recipes.labeling_throughput import LABELS, serve
from labelspace.space import LabelSpace


class LabelingMillionConfig(Config):
    """What `labelspace run labeling_million` reads."""

    rows: int = 1_000_000
    """Rows to label."""
    concurrency: int = 64
    """Calls in flight."""
    folder: str | None = None
    """For texts, labels and journal; by default one that is removed at the end. A million rows take about 1 GB."""


def main(config: LabelingMillionConfig) -> dict[str, float]:
    """Label, label again, and print rows a second, peak memory and the size of the journal.

    Returns:
        Rows a second of the `first` run and the `replay`, `mb` of memory at most, `journal_mb`, and `calls` of both.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(config.folder or name)
        folder.mkdir(parents=True, exist_ok=True)
        texts = (f"Ticket {number:07d}: my card was charged twice for one order" for number in range(config.rows))
        write_rows(folder / "texts.jsonl", ({"id": str(n), "text": text} for n, text in enumerate(texts)))
        LabelSpace.of(LABELS).save(folder / "space.yaml")
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, 0.0), daemon=True)
        server.start()
        try:
            url = f"http://127.0.0.1:{ours.recv()}/v1"
            first = label(folder, url, config.concurrency)
            tell("asked", config.rows, first)
            size = (folder / "journal.sqlite").stat().st_size / 1e6
            click.echo(f"journal  {size:,.0f} MB, {1e6 * size / config.rows:,.0f} bytes a row")
            replay = label(folder, url, config.concurrency)
            tell("replayed", config.rows, replay)
        finally:
            server.terminate()
            server.join()
    return {
        "first": config.rows / first["seconds"],
        "replay": config.rows / replay["seconds"],
        "mb": max(first["mb"], replay["mb"]),
        "journal_mb": size,
        "calls": first["calls"] + replay["calls"],
    }


def label(folder: Path, url: str, concurrency: int) -> dict[str, float]:
    """Run the command in a process of its own.

    Returns:
        `seconds`, `mb` of memory at most, and `calls` made.

    Raises:
        AssertionError: A row is missing, doubled, out of order, or has the wrong label.
    """
    arguments = [
        *(
            "label",
            str(folder / "texts.jsonl"),
            "--space",
            str(folder / "space.yaml"),
            "--out",
            str(folder / "labels.jsonl"),
        ),
        *("--model", f"{url}#m", "--journal", str(folder / "journal.sqlite"), "--concurrency", str(concurrency)),
    ]
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=command, args=(arguments, there))
    process.start()
    seconds, memory = here.recv()
    process.join()
    number = -1
    with (folder / "labels.jsonl").open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            row = json.loads(line)
            if (row["id"], row["label"], row["status"]) != (str(number), "billing", "ok"):
                raise AssertionError(f"row {number} is not as it should be: {line[:200]}")
    account = json.loads((folder / "labels.jsonl.run.json").read_text(encoding="utf-8"))
    if account["rows"]["ok"] != number + 1:
        raise AssertionError(f"{account['rows']} rows were counted, {number + 1} are there")
    return {"seconds": seconds, "mb": memory, "calls": account["engine"]["calls"]}


def command(arguments: list[str], done: Connection) -> None:
    """Body of the command's process."""
    from labelspace.cli import main as run_command

    start = time.perf_counter()
    with contextlib.suppress(SystemExit):
        run_command(arguments)
    done.send((time.perf_counter() - start, peak_megabytes()))


def tell(what: str, rows: int, run: dict[str, float]) -> None:
    """Print a line of figures."""
    rate = rows / run["seconds"]
    click.echo(
        f"{what:<9}{rows:10,} rows in {run['seconds']:7,.1f} s: {rate:7,.0f} rows/s, at most {run['mb']:4,.0f} MB, "
        f"{run['calls']:,.0f} calls"
    )
