"""The journal is the cache is the resume: nothing is paid twice, whatever happens to the process or the disk."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from labelspace.errors import EXIT_FAILED, JournalError
from labelspace.llm import Engine, Outcome, Reply, ReplyError, Request, ScriptedLLM, run
from labelspace.llm.journal import Journal
from labelspace.llm.salvage import salvage


def ask_for(item: Any, **parameters: Any) -> Request:
    return Request([{"role": "user", "content": f"Label this: {item}"}], **parameters)


def read(reply: Reply, item: Any) -> str:
    if reply.text not in ("A", "B"):
        raise ReplyError("Say A or B.")
    return reply.text


def go(
    llm: Any, rows: Any, journal: Path | None, *, make: Any = ask_for, parse: Any = read, **settings: Any
) -> tuple[list[Outcome[Any, Any]], dict[str, Any]]:
    async def work() -> tuple[list[Outcome[Any, Any]], dict[str, Any]]:
        async with Engine(llm, journal=journal, concurrency=4, **settings) as engine:
            outcomes = [outcome async for outcome in engine.map(rows, make, parse)]
            return outcomes, engine.stats.to_data()

    return run(work())


def test_a_rerun_asks_nothing_and_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "run" / "journal.sqlite"
    llm = ScriptedLLM(lambda request: "A" if "1" in request.messages[0]["content"] else "B")
    first, _ = go(llm, range(500), path)
    again, stats = go(ScriptedLLM([]), range(500), path)
    assert [outcome.value for outcome in again] == [outcome.value for outcome in first]
    assert (stats["calls"], stats["reused"], stats["reused_replies"]) == (0, 500, 500)
    assert all(outcome.reply is not None and outcome.reply.reused for outcome in again)


CHANGES = [
    ("another document", {"rows": [0, 1, 9]}, 1),
    ("another prompt", {"make": lambda item: Request([{"role": "user", "content": f"Please label {item}"}])}, 3),
    ("another temperature", {"make": lambda item: ask_for(item, temperature=0.7)}, 3),
    ("another label space", {"make": lambda item: ask_for(item, choices=("A", "B", "C"))}, 3),
    ("log-probabilities", {"make": lambda item: ask_for(item, logprobs=5)}, 3),
    ("a seed", {"make": lambda item: ask_for(item, seed=1)}, 3),
    ("another model", {"name": "other"}, 3),
    ("another parser", {"parse": lambda reply, item: reply.text.lower()}, 0),
    ("another order", {"rows": [2, 0, 1]}, 0),
]


@pytest.mark.parametrize(("change", "what", "calls"), CHANGES, ids=[change[0] for change in CHANGES])
def test_what_changes_is_asked_again_and_nothing_else(tmp_path: Path, change: str, what: Any, calls: int) -> None:
    path = tmp_path / "j.sqlite"
    go(ScriptedLLM(lambda request: "A"), range(3), path)
    what = dict(what)
    llm = ScriptedLLM(lambda request: "B", name=what.pop("name", "scripted"))
    outcomes, stats = go(llm, what.pop("rows", range(3)), path, **what)
    assert stats["calls"] == len(llm.requests) == calls
    assert len(outcomes) == 3


def test_the_whole_chain_of_repairs_is_replayed(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    llm = ScriptedLLM(["maybe", "", "A"])
    first, stats = go(llm, ["x"], path)
    assert (first[0].value, stats["calls"], stats["repairs"]) == ("A", 3, 2)
    again, stats = go(ScriptedLLM([]), ["x"], path)
    assert (again[0].value, stats["calls"], stats["reused_replies"]) == ("A", 0, 3)
    # A parser that takes the first reply has no use for the others.
    loose, stats = go(ScriptedLLM([]), ["x"], path, parse=lambda reply, item: reply.text)
    assert (loose[0].value, stats["calls"]) == ("maybe", 0)


def test_failed_rows_stay_failed_until_they_are_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"

    def stubborn(request: Request) -> str:
        return "never" if "Label this: 1" in request.messages[0]["content"] else "A"

    first, _ = go(ScriptedLLM(stubborn), [0, 1, 2, 1], path)
    assert [outcome.status for outcome in first] == ["ok", "failed", "ok", "failed"]
    again, _ = go(ScriptedLLM([]), [0, 1, 2, 1], path)
    assert [outcome.reason for outcome in again] == [None, "Say A or B.", None, "Say A or B."]
    llm = ScriptedLLM(lambda request: "B")
    fixed, stats = go(llm, [0, 1, 2, 1], path, retry_failed=True)
    assert [outcome.value for outcome in fixed] == ["A", "B", "A", "B"]
    assert stats["calls"] == 1, "the two equal rows share one call"
    after, _ = go(ScriptedLLM([]), [0, 1, 2, 1], path, retry_failed=True)
    assert [outcome.value for outcome in after] == ["A", "B", "A", "B"]


def test_equal_rows_are_asked_once(tmp_path: Path) -> None:
    llm = ScriptedLLM(lambda request: "A")
    outcomes, _stats = go(llm, ["x"] * 700 + ["y"] * 700, tmp_path / "j.sqlite")
    assert len(outcomes) == 1400
    assert len(llm.requests) == 2
    llm = ScriptedLLM(lambda request: "A")
    go(llm, ["x"] * 10, None)
    assert len(llm.requests) == 1


def test_a_second_process_is_refused_with_a_line(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    opened = f"from labelspace.llm.journal import Journal; journal = Journal({str(path)!r})"
    code = f"import time; {opened}; print('open', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(JournalError, match=f"is in use by process {other.pid}; wait for it to end"):
            Journal(path)
        os.kill(other.pid, signal.SIGKILL)
        other.wait(10)
    journal = Journal(path)  # the lock died with its process
    journal.let_go()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(JournalError, match="cannot be written.*name a file in a folder") as caught:
        Journal(tmp_path / "file" / "j.sqlite")
    assert caught.value.exit_code == EXIT_FAILED
    with pytest.raises(JournalError, match="cannot be"):
        Journal(tmp_path)  # a folder is no file
    if os.geteuid() == 0:
        with pytest.raises(JournalError, match="cannot be written"):
            Journal("/proc/labelspace/j.sqlite")
        return
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    with pytest.raises(JournalError, match="cannot be written"):
        Journal(locked / "j.sqlite")


def test_something_else_under_its_name_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    path.write_text("my notes, several pages of them\n" * 200)
    with pytest.raises(JournalError, match="is damaged .*salvage"):
        Journal(path)
    assert path.read_text().startswith("my notes")


def damage_header(content: bytearray) -> None:
    content[:100] = bytes(100)


def damage_middle(content: bytearray) -> None:
    half = len(content) // 2 // 4096 * 4096
    content[half : half + 3 * 4096] = os.urandom(3 * 4096)


def cut_short(content: bytearray) -> None:
    del content[len(content) * 2 // 3 :]


@pytest.mark.parametrize("damage", [damage_header, damage_middle, cut_short])
def test_a_damaged_journal_is_named_and_salvaged(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "j.sqlite"

    def long_replies(request: Request) -> str:
        item = int(request.messages[0]["content"].split(": ")[1])
        return f"{item} " + "long " * (3_000 if item % 50 == 0 else 5)

    def same(reply: Reply, item: int) -> int:
        return int(reply.text.split()[0])

    go(ScriptedLLM(long_replies), range(1000), path, parse=same)
    content = bytearray(path.read_bytes())
    damage(content)
    path.write_bytes(content)
    with pytest.raises(JournalError, match=r"is damaged \(.*python -m labelspace.llm.salvage .*j.sqlite"):
        go(ScriptedLLM([]), range(1000), path, parse=same)
    assert path.read_bytes() == bytes(content), "the damaged file is as it was"
    aside, saved = salvage(path)
    assert aside.read_bytes() == bytes(content)
    least = 990 if damage is damage_header else 550
    assert least <= saved <= 1000
    llm = ScriptedLLM(long_replies)
    outcomes, _stats = go(llm, range(1000), path, parse=same)
    assert [outcome.value for outcome in outcomes] == list(range(1000))
    assert len(llm.requests) == 1000 - saved


def test_salvage_says_what_it_did(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    go(ScriptedLLM(lambda request: "A"), range(10), path)
    command = [sys.executable, "-m", "labelspace.llm.salvage", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"saved 10 replies; the damaged file is kept as {path}.damaged-1\n"
    missing = subprocess.run([*command[:-1], "nowhere"], capture_output=True, text=True, timeout=60, check=False)
    assert (missing.returncode, missing.stderr) == (EXIT_FAILED, "labelspace: nowhere: no such journal\n")


CLIENT = """
import asyncio, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
from labelspace.errors import LabelspaceError
from labelspace.llm import Engine, Request

async def main(url, path, rows, extra):
    async with Engine(url, journal=path, concurrency=16, patience=1.0) as engine:
        if extra:
            import resource
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(extra), int(extra)))
        def make(item):
            return Request([{"role": "user", "content": f"Label this: {item}"}])
        async for outcome in engine.map(range(rows), make, lambda reply, item: reply.text):
            if outcome.status != "ok":
                print("FAILED", outcome.reason)
try:
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else ""))
    print("done")
except LabelspaceError as error:
    print(type(error).__name__, error)
"""


def test_kill_9_at_any_time_repays_at_most_what_was_in_flight(server: Any, tmp_path: Path) -> None:
    answer = sys.modules[type(server).__module__].Answer
    server.script = lambda body, count: answer(delay=0.01)
    path, rows = tmp_path / "j.sqlite", 600
    command = [sys.executable, "-c", CLIENT, server.url, str(path), str(rows)]
    chance = random.Random(7)
    kills = 0
    for _ in range(5):
        asked = len(server.bodies)
        with subprocess.Popen(command) as client:
            wanted = asked + chance.randrange(20, 130)
            while client.poll() is None and len(server.bodies) < wanted:
                time.sleep(0.001)
            client.send_signal(signal.SIGKILL)
            client.wait(10)
        kills += 1
        time.sleep(0.05)
    last = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert last.stdout == "done\n", last.stderr
    repaid = len(server.bodies) - rows
    assert 0 <= repaid <= kills * 16
    per_row: dict[str, int] = {}
    for body in server.bodies:
        text = body["messages"][0]["content"]
        per_row[text] = per_row.get(text, 0) + 1
    assert len(per_row) == rows
    calls = len(server.bodies)
    again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (again.stdout, len(server.bodies)) == ("done\n", calls)


def test_ctrl_c_keeps_what_is_in_flight(server: Any, tmp_path: Path) -> None:
    answer = sys.modules[type(server).__module__].Answer
    stopped = threading.Event()
    # After 32 answers none comes before the client is told to stop: 16 are in flight then.
    server.script = lambda body, count: answer(delay=0.2 * (count > 48), until=lambda: count <= 32 or stopped.is_set())
    path = tmp_path / "j.sqlite"
    code = CLIENT.replace("asyncio.run(main(", "from labelspace.llm import run; run(main(")
    command = [sys.executable, "-c", code, server.url, str(path), "100"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as client:
        while len(server.bodies) < 48:
            time.sleep(0.005)
        client.send_signal(signal.SIGINT)
        time.sleep(0.5)
        stopped.set()
        client.wait(60)
    asked = len(server.bodies)
    assert 48 <= asked < 100
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "done\n", done.stderr
    assert len(server.bodies) == 100


def test_a_full_disk_is_named_and_the_paid_kept(server: Any, tmp_path: Path) -> None:
    answer = sys.modules[type(server).__module__].Answer
    server.script = lambda body, count: answer(text="A" * 3000, delay=0.005)
    path = tmp_path / "j.sqlite"
    command = [sys.executable, "-c", CLIENT, server.url, str(path), "2000"]
    full = subprocess.run([*command, "1200000"], capture_output=True, text=True, timeout=60, check=False)
    assert full.stdout.startswith("JournalError"), full.stdout + full.stderr
    assert str(path) in full.stdout
    asked = len(server.bodies)
    assert 16 * 2 < asked < 2000  # more than what may be paid twice; how many fit depends on what each commit held
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "done\n", done.stdout + done.stderr
    assert len(server.bodies) - 2000 <= 16 * 2


def test_no_key_is_stored(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABELSPACE_API_KEY", "sk-very-secret-key")
    path = tmp_path / "j.sqlite"
    _, stats = go(server.url, range(3), path, parse=lambda reply, item: reply.text)
    assert "authorization: bearer sk-very-secret-key" in server.heads[0].lower()
    assert "secret" not in json.dumps(stats)
    for file in tmp_path.iterdir():
        assert b"secret" not in file.read_bytes()


def test_on_a_really_full_disk_everything_paid_is_kept(server: Any, tmp_path: Path) -> None:
    answer = sys.modules[type(server).__module__].Answer
    server.script = lambda body, count: answer(delay=0.002)
    mount, kept = tmp_path / "small", tmp_path / "kept"
    mount.mkdir()
    kept.mkdir()
    script = (
        f"mount -t tmpfs -o size=2560k tmpfs {mount} || exit 77; "
        f'"$@" {mount}/j.sqlite 20000; cp {mount}/j.sqlite* {kept}/'
    )
    command = ["unshare", "-rm", "sh", "-c", script, "sh", sys.executable, "-c", CLIENT, server.url]
    try:
        full = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except FileNotFoundError:
        pytest.skip("needs unshare")
    if full.returncode == 77 or "unshare" in full.stderr:
        pytest.skip("may not mount a small disk here")
    assert full.stdout.startswith("JournalError"), full.stdout + full.stderr
    assert "the disk is full" in full.stdout
    journal = Journal(kept / "j.sqlite")
    assert 50 < journal.count() == len(server.bodies) < 20_000
    journal.let_go()
