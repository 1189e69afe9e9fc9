"""`labelspace label --batch-api` against a server that speaks the protocol: submitted once, found again, merged."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from labelspace.cli import main
from labelspace.data import write_rows
from labelspace.space import LabelSpace

NAMES = ["red", "green", "blue"]


class Batches(ThreadingHTTPServer):
    """Files and batches as OpenAI has them; a batch is done once `open` is set."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.asked: Counter[str] = Counter()
        self.direct = 0
        self.open = threading.Event()

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        text = body["messages"][-1]["content"].split("\n")[1]
        self.asked[text] += 1
        name = text.split()[0]
        code = re.search(rf"^(\w) = {name}$", body["messages"][0]["content"], re.MULTILINE)
        message = {"role": "assistant", "content": json.dumps({"choice": code[1] if code else name})}
        usage = {"prompt_tokens": 100, "completion_tokens": 5}
        return {"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}

    def finish(self, batch: dict[str, Any]) -> None:
        """Answer in reverse order; every tenth request fails in the batch."""
        done, failed = [], []
        for number, line in enumerate(self.files[batch["input_file_id"]].splitlines()):
            request = json.loads(line)
            head = {"id": f"r{number}", "custom_id": request["custom_id"]}
            if number % 10 == 9:
                body = {"error": {"message": "overloaded", "code": "server_error"}}
                failed.append({**head, "response": {"status_code": 500, "body": body}, "error": None})
            else:
                response = {"status_code": 200, "body": self.complete(request["body"])}
                done.append({**head, "response": response, "error": None})
        for kind, lines in (("output", done), ("error", failed)):
            name = f"{kind}-{batch['id']}"
            self.files[name] = b"".join(json.dumps(line).encode() + b"\n" for line in reversed(lines))
            batch[f"{kind}_file_id"] = name
        batch["status"] = "completed"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Batches

    def do_GET(self) -> None:
        server, parts = self.server, self.path.partition("?")[0].strip("/").split("/")[1:]
        if parts == ["models"]:
            self.reply({"data": [{"id": "m", "owned_by": "tests"}]})
        elif parts == ["batches"]:
            self.reply({"data": list(server.batches.values())})
        elif parts[0] == "batches":
            batch = server.batches[parts[1]]
            if batch["status"] != "completed" and server.open.is_set():
                server.finish(batch)
            self.reply(batch)
        else:
            self.reply(server.files[parts[1]])

    def do_POST(self) -> None:
        server, content = self.server, self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/files":
            kind = self.headers["Content-Type"].encode()
            parts = BytesParser().parsebytes(b"Content-Type: " + kind + b"\r\n\r\n" + content).get_payload()
            name = f"file-{len(server.files)}"
            server.files[name] = next(p for p in parts if p.get_filename()).get_payload(decode=True)  # type: ignore[union-attr]
            self.reply({"id": name})
        elif self.path == "/v1/batches":
            name = f"batch-{len(server.batches)}"
            server.batches[name] = {"id": name, "status": "in_progress", **json.loads(content)}
            self.reply(server.batches[name])
        else:
            server.direct += 1
            self.reply(server.complete(json.loads(content)))

    def reply(self, payload: Any) -> None:
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Batches]:
    one = Batches()
    threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield one
    one.shutdown()
    one.server_close()


def command(folder: Path, server: Batches, rows: int) -> list[str]:
    write_rows(folder / "texts.jsonl", ({"id": f"r{n}", "text": f"{NAMES[n % 3]} thing {n}"} for n in range(rows)))
    LabelSpace.of(NAMES).save(folder / "space.yaml")
    arguments = ["label", str(folder / "texts.jsonl"), "--space", str(folder / "space.yaml")]
    arguments += ["--out", str(folder / "labels.jsonl"), "--model", f"http://127.0.0.1:{server.server_port}/v1#m"]
    return [*arguments, "--batch-api", "--poll", "0.1"]


def labels(folder: Path, rows: int) -> None:
    made = [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()]
    assert [(row["id"], row["label"]) for row in made] == [(f"r{n}", NAMES[n % 3]) for n in range(rows)]


def test_a_batch_is_submitted_followed_and_merged(server: Batches, tmp_path: Path) -> None:
    server.open.set()
    arguments = command(tmp_path, server, 200)
    for _ in range(2):
        with pytest.raises(SystemExit) as done:
            main(arguments)
        assert not done.value.code
        labels(tmp_path, 200)
    assert len(server.batches) == 1
    assert server.direct == 20, "what failed in the batch is asked directly"
    assert set(server.asked.values()) == {1}
    run = json.loads((tmp_path / "labels.jsonl.run.json").read_text())
    assert (run["status"], run["engine"]["calls"]) == ("complete", 0)
    assert run["engine"]["journal"]["prompt_tokens"] == 200 * 100


def test_one_token_is_asked_in_a_batch_without_a_first_look(server: Batches, tmp_path: Path) -> None:
    server.open.set()
    with pytest.raises(SystemExit) as done:
        main([*command(tmp_path, server, 60), "--one-token"])
    assert not done.value.code
    labels(tmp_path, 60)
    assert (len(server.batches), server.direct) == (1, 6)


def test_a_killed_run_finds_its_batch_again(server: Batches, tmp_path: Path) -> None:
    arguments = command(tmp_path, server, 120)
    process = subprocess.Popen(
        [sys.executable, "-c", "from labelspace.cli import main; main()", *arguments],
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 250  # a machine may be busy
    while not server.batches and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.3)
    process.kill()
    _, said = process.communicate()
    assert len(server.batches) == 1, said
    assert not server.asked

    server.open.set()
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert not done.value.code
    labels(tmp_path, 120)
    assert len(server.batches) == 1
    assert set(server.asked.values()) == {1}


@pytest.mark.parametrize(("rows", "share"), [(200, 0.5), (10, 1.0)])
def test_a_dry_run_says_the_price_of_a_batch(
    server: Batches,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
    share: float,
) -> None:
    """Half of that of single calls; a handful of rows is not worth a batch and asked directly."""
    (tmp_path / "prices.yaml").write_text("models: {m: {input: 1000, output: 2000}}\n")
    monkeypatch.setenv("LABELSPACE_PRICES", str(tmp_path / "prices.yaml"))
    arguments = [*command(tmp_path, server, rows), "--dry-run"]
    prices = []
    for given in (arguments, [one for one in arguments if one not in ("--batch-api", "--poll", "0.1")]):
        with pytest.raises(SystemExit) as done:
            main(given)
        assert not done.value.code
        said = capsys.readouterr().out
        assert ("that is 50% of the usual price, by the batch API" in said) == (share < 1 and given is arguments)
        prices.append(float(said.partition("about $")[2].partition(",")[0]))
    assert prices[0] == pytest.approx(prices[1] * share, abs=1e-3)
    assert prices[0] > 1
    assert (server.batches, server.files, server.direct) == ({}, {}, 0)


def answer_file(folder: Path, *, leave_out: int = 0) -> int:
    """Do what `vllm run-batch` does: answer requests.jsonl in replies.jsonl, in another order, some with an error."""
    out = []
    for number, line in enumerate((folder / "requests.jsonl").read_text().splitlines()):
        request = json.loads(line)
        assert (request["method"], request["url"]) == ("POST", "/v1/chat/completions")
        assert request["body"]["structured_outputs"] == {"choice": NAMES}
        name = request["body"]["messages"][-1]["content"].split("\n")[1].split()[0]
        choice = {"index": 0, "message": {"role": "assistant", "content": name}, "finish_reason": "stop"}
        response = {"status_code": 200, "request_id": "x", "body": {"model": "m", "choices": [choice]}}
        if number < leave_out:
            response = {"status_code": 500, "request_id": "x", "body": None}
        out.append({"id": f"vllm-{number}", "custom_id": request["custom_id"], "response": response, "error": None})
    (folder / "replies.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in reversed(out)))
    return len(out)


def test_batches_as_files_need_no_server(server: Batches, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = command(tmp_path, server, 60)[:-3]
    files = tmp_path / "batch"
    arguments[arguments.index("--model") + 1] = f"run-batch:{files}#m"

    def run() -> int:
        with pytest.raises(SystemExit) as done:
            main(arguments)
        return int(done.value.code or 0)

    assert run() == 3
    said = capsys.readouterr().err
    assert f"60 requests are in {files / 'requests.jsonl'}; answer them with: vllm run-batch -i " in said
    assert "--model m; then the same command goes on" in said
    assert not (tmp_path / "labels.jsonl").exists()
    assert answer_file(files, leave_out=4) == 60

    assert run() == 3
    made = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    assert Counter(row["status"] for row in made) == {"ok": 56, "failed": 4}
    assert "Stopped early: 4 requests are in" in capsys.readouterr().err
    assert answer_file(files) == 4
    assert run() == 0
    labels(tmp_path, 60)
    (files / "replies.jsonl").write_text("{")
    assert run() == 1
    assert "does not hold the replies of a batch" in capsys.readouterr().err
    (files / "replies.jsonl").unlink()
    assert run() == 0, "the journal has them all"
    assert server.direct == 0


def test_only_servers_have_a_batch_api(server: Batches, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = command(tmp_path, server, 1)
    arguments[arguments.index("--model") + 1] = "hf:folder"
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 2
    assert "only servers have a batch API, not 'hf:folder'" in capsys.readouterr().err
