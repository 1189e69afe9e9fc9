"""`labelspace label --engine ray`: as one process would, whatever becomes of the workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from labelspace.cli import main
from labelspace.data import read_predictions, write_rows
from labelspace.space import LabelSpace

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install 'labelspace[ray]'"),
]
NAMES = ("red", "green", "blue")
ROWS = 3000
FLIGHT = 8
"""Requests in flight of one worker."""


def texts(path: Path, rows: int = ROWS) -> None:
    """Rows with and without text, some of them the same, in Parquet."""
    write_rows(
        path,
        (
            {"id": f"r{n}", "text": "" if n % 97 == 5 else f"{NAMES[n % 3]} thing {n % (rows - 20)}"}
            for n in range(rows)
        ),
    )


def arguments(folder: Path, url: str, out: str, *more: str) -> list[str]:
    LabelSpace.of(NAMES).save(folder / "space.yaml")
    data = ["label", str(folder / "texts.parquet"), "--space", str(folder / "space.yaml")]
    return [*data, "--out", str(folder / out), "--model", url, "--concurrency", str(2 * FLIGHT), *more]


def start(*command: str) -> subprocess.Popen[str]:
    program = "from labelspace.cli import main; main()"
    return subprocess.Popen([sys.executable, "-c", program, *command], stderr=subprocess.PIPE, text=True)


def alone(folder: Path, url: str) -> bytes:
    """What one process makes of it."""
    with pytest.raises(SystemExit) as done:
        main(arguments(folder, url, "alone.jsonl"))
    assert not done.value.code
    return (folder / "alone.jsonl").read_bytes()


def holder(journal: Path) -> int:
    """The process that works on a journal."""
    lock = journal.with_name(journal.name + ".lock")
    return int(lock.read_bytes()[:20].split(b"\0")[0])


def test_a_killed_worker_loses_no_row_and_doubles_none(judge: Any, tmp_path: Path) -> None:
    texts(tmp_path / "texts.parquet")
    judge.delay = 0.02
    ray = ("--engine", "ray", "--workers", "2", "--partition-rows", "700")
    process = start(*arguments(tmp_path, judge.url, "labels.jsonl", *ray))
    end = time.monotonic() + 250
    while judge.asked.total() < 600 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    first = tmp_path / "labels.jsonl.parts" / "part-00000.journal.sqlite"
    victim = holder(first)
    assert victim not in (process.pid, os.getpid())
    os.kill(victim, signal.SIGKILL)
    judge.delay = 0.0
    _, said = process.communicate(timeout=180)
    assert process.returncode == 0, said
    assert holder(first) != victim, "another worker went on with its journal"

    asked = judge.asked.copy()
    made = (tmp_path / "labels.jsonl").read_bytes()
    assert made == alone(tmp_path, judge.url)
    rows = [json.loads(line) for line in made.splitlines()]
    assert [row["id"] for row in rows] == [f"r{n}" for n in range(ROWS)]
    # Twenty texts come twice, in different partitions; the rest is asked once, save what was in flight.
    repeated = {f"{NAMES[n % 3]} thing {n % (ROWS - 20)}" for n in range(ROWS - 20, ROWS)}
    again = sum(count - 1 for text, count in asked.items() if text not in repeated)
    assert 0 <= again <= FLIGHT
    run = json.loads((tmp_path / "labels.jsonl.run.json").read_text())
    assert (run["status"], run["rows"]["rows"], run["settings"]["engine"]) == ("complete", ROWS, "ray")
    assert run["engine"]["model"] == "tiny"
    assert run["engine"]["journal"]["calls"] >= len(asked)


# Three Ray nodes in one process group; the second of two with a CPU dies while both label. Ray takes 127.0.0.1 in an
# address for the name of the machine, hence 127.0.0.2.
CLUSTER = """
import sys, threading, time
from pathlib import Path
from ray.cluster_utils import Cluster
from labelspace.cli import main

store = {"object_store_memory": 80 << 20, "include_dashboard": False, "node_ip_address": "127.0.0.2"}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **store})
nodes = [cluster.add_node(num_cpus=1, **store) for _ in range(2)]
journals = Path(sys.argv[1])

def strike():
    while len(list(journals.glob("*.journal.sqlite-wal"))) < 2:
        time.sleep(0.05)
    time.sleep(1.0)
    cluster.remove_node(nodes[1], allow_graceful=False)
    print("struck", file=sys.stderr)

threading.Thread(target=strike, daemon=True).start()
try:
    main([*sys.argv[2:], "--ray-address", cluster.address])
finally:
    cluster.shutdown()
"""


def test_a_killed_raylet_loses_no_row_and_doubles_none(judge: Any, tmp_path: Path) -> None:
    texts(tmp_path / "texts.parquet", 1000)
    judge.delay = 0.1
    ray = ("--engine", "ray", "--workers", "2", "--partition-rows", "400")
    command = arguments(tmp_path, judge.url, "labels.jsonl", *ray)
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER, str(tmp_path / "labels.jsonl.parts"), *command],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert "struck" in said
    assert (tmp_path / "labels.jsonl").read_bytes() == alone(tmp_path, judge.url)


def test_a_budget_holds_for_all_workers_together_and_the_same_command_goes_on(judge: Any, tmp_path: Path) -> None:
    texts(tmp_path / "texts.parquet", 400)
    ray = ("--engine", "ray", "--workers", "2", "--partition-rows", "90")
    process = start(*arguments(tmp_path, judge.url, "labels.jsonl", *ray, "--budget", "101 calls"))
    _, said = process.communicate(timeout=180)
    assert process.returncode == 3, said
    assert judge.asked.total() == 101
    rows = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [f"r{n}" for n in range(400)]
    assert Counter(row["status"] for row in rows)["ok"] >= 101
    reasons = {row["reason"] for row in rows if row["status"] == "failed"}
    assert reasons == {"not asked: the budget of 101 calls is spent"}
    assert "Stopped early: the budget of 101 calls is spent" in said

    process = start(*arguments(tmp_path, judge.url, "labels.jsonl", *ray))
    _, said = process.communicate(timeout=180)
    assert process.returncode == 0, said
    assert (tmp_path / "labels.jsonl").read_bytes() == alone(tmp_path, judge.url)


def test_too_many_failed_rows_stop_all_workers_and_the_same_command_goes_on(judge: Any, tmp_path: Path) -> None:
    write_rows(
        tmp_path / "texts.parquet",
        ({"id": f"r{n}", "text": f"{'purple' if n % 3 == 2 else 'red'} thing {n}"} for n in range(600)),
    )
    ray = ("--engine", "ray", "--workers", "2", "--partition-rows", "60")
    process = start(*arguments(tmp_path, judge.url, "labels.jsonl", *ray, "--max-errors", "10"))
    _, said = process.communicate(timeout=180)
    assert process.returncode == 3, said
    assert "Stopped early: more than 10 rows failed (max_errors)" in said
    rows = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [f"r{n}" for n in range(600)]
    unread = [row for row in rows if row["status"] == "failed" and not row["reason"].startswith("not asked: ")]
    # Each of the two workers that label at once may bear ten, and has so many in flight.
    assert 10 < len(unread) <= 2 * (11 + FLIGHT)
    assert {row["raw"] for row in unread} == {"purple"}
    assert judge.asked.total() < 600

    process = start(*arguments(tmp_path, judge.url, "labels.jsonl", *ray))
    _, said = process.communicate(timeout=180)
    assert process.returncode == 3, said
    with pytest.raises(SystemExit):
        main(arguments(tmp_path, judge.url, "alone.jsonl"))
    assert (tmp_path / "labels.jsonl").read_bytes() == (tmp_path / "alone.jsonl").read_bytes()


def test_parquet_comes_out_as_from_one_process(judge: Any, tmp_path: Path) -> None:
    texts(tmp_path / "texts.parquet", 200)
    ray = ("--engine", "ray", "--workers", "2", "--partition-rows", "50")
    process = start(*arguments(tmp_path, judge.url, "labels.parquet", *ray))
    _, said = process.communicate(timeout=180)
    assert process.returncode == 0, said
    with pytest.raises(SystemExit):
        main(arguments(tmp_path, judge.url, "alone.parquet"))
    one, other = (list(read_predictions(tmp_path / name)) for name in ("labels.parquet", "alone.parquet"))
    assert one == other
    assert len(one) == 200


def test_options_that_do_not_go_with_ray(tmp_path: Path, judge: Any) -> None:
    texts(tmp_path / "texts.parquet", 40)
    more = ("--engine", "ray", "--workers", "1", "--batch-api")
    process = start(*arguments(tmp_path, judge.url, "labels.jsonl", *more))
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.count("\n")) == (2, 1)
    assert "leave out --batch-api" in said
