"""The batch API, against a server that speaks the protocol: split, resumed, merged by id, failures asked again."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from labelspace.errors import ModelError
from labelspace.llm import Engine, Outcome, Reply, Request, run
from labelspace.llm.batches import BatchModel
from labelspace.llm.client import HTTPModel


class BatchServer:
    """Files and batches as OpenAI has them; a batch ends after `polls` looks at it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.looks: dict[str, int] = {}
        self.polls = 2
        self.direct: list[str] = []
        self.asked: list[str] = []
        self.ending = "completed"
        self.fault: dict[str, Any] = {}
        self.lost_create = False
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait(10)

    def _run(self) -> None:
        async def start() -> web.AppRunner:
            app = web.Application(client_max_size=1 << 30)
            app.router.add_get("/v1/models", self._models)
            app.router.add_post("/v1/chat/completions", self._chat)
            app.router.add_post("/v1/files", self._upload)
            app.router.add_get("/v1/files/{id}/content", self._content)
            app.router.add_post("/v1/batches", self._create)
            app.router.add_get("/v1/batches", self._list)
            app.router.add_get("/v1/batches/{id}", self._look)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.port = runner.addresses[0][1]
            return runner

        runner = self._loop.run_until_complete(start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        text = body["messages"][-1]["content"]
        self.asked.append(text)
        message = {"role": "assistant", "content": text.upper()}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 2}
        return {"id": "1", "model": "fake", "choices": [choice], "usage": usage}

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "fake", "owned_by": "tests"}]})

    async def _chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.direct.append(body["messages"][-1]["content"])
        return web.json_response(self.completion(body))

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["purpose"] == "batch"
        name = f"file-{len(self.files)}"
        self.files[name] = form["file"].file.read()  # type: ignore[union-attr]
        return web.json_response({"id": name, "object": "file"})

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = f"batch-{len(self.batches)}"
        self.batches[name] = {"id": name, "status": "validating", **body}
        if self.lost_create:
            self.lost_create = False
            return web.json_response({"error": {"message": "made, but not said"}}, status=500)
        return web.json_response(self.batches[name])

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response({"data": list(self.batches.values())})

    async def _look(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        batch = self.batches[name]
        self.looks[name] = self.looks.get(name, 0) + 1
        if self.looks[name] >= self.polls and batch["status"] not in ("completed", "failed", "expired"):
            batch["status"] = self.ending
            if self.ending == "failed":
                batch["errors"] = {"data": [{"code": "invalid", "message": "line 1: no such model"}]}
            else:
                self._end(batch)
        return web.json_response(batch)

    def _end(self, batch: dict[str, Any]) -> None:
        good, bad = [], []
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        for line in reversed(lines):  # the order of the output is not that of the input
            text = line["body"]["messages"][-1]["content"]
            fault = self.fault.get(text)
            entry: dict[str, Any] = {"id": "r", "custom_id": line["custom_id"], "response": None, "error": None}
            if fault == "expired":
                bad.append({**entry, "error": {"code": "batch_expired", "message": "not in time"}})
            elif fault == "missing":
                continue
            elif fault is not None:
                body = {"error": {"message": "injected", "code": None}}
                bad.append({**entry, "response": {"status_code": fault, "body": body}})
            else:
                good.append({**entry, "response": {"status_code": 200, "body": self.completion(line["body"])}})
        for kind, found in (("output_file_id", good), ("error_file_id", bad)):
            if found:
                batch[kind] = f"file-{len(self.files)}"
                self.files[batch[kind]] = "\n".join(map(json.dumps, found)).encode()

    async def _content(self, request: web.Request) -> web.Response:
        return web.Response(body=self.files[request.match_info["id"]])


@pytest.fixture
def desk() -> Iterator[BatchServer]:
    one = BatchServer()
    yield one
    one.close()


def label(
    desk: BatchServer, rows: list[str], *, stopped: bool = False, together: int = 1000, **settings: Any
) -> tuple[list[Outcome[str, str]], dict[str, Any]]:
    model = BatchModel(
        HTTPModel(f"http://127.0.0.1:{desk.port}/v1", "fake"), together=together, fewest=3, quiet=0.05, poll=0.03
    )

    def make(row: str) -> Request:
        return Request([{"role": "user", "content": row}], max_tokens=5)

    def parse(reply: Reply, row: str) -> str:
        return reply.text

    async def work() -> tuple[list[Outcome[str, str]], dict[str, Any]]:
        async with Engine(model, **settings) as engine:
            return [outcome async for outcome in engine.map(rows, make, parse)], engine.stats.to_data()

    async def killed() -> tuple[list[Outcome[str, str]], dict[str, Any]]:
        task = asyncio.ensure_future(work())
        while not desk.looks:  # until it waits for its batch
            await asyncio.sleep(0.01)
        import labelspace.llm.workers as workers

        grace, workers.GRACE = workers.GRACE, 0.0
        try:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        finally:
            workers.GRACE = grace
        return [], {}

    return run(killed() if stopped else work())


ROWS = [f"row {number}" for number in range(250)]


def test_rows_are_asked_in_batches_within_the_limits(desk: BatchServer, tmp_path: Path) -> None:
    table = tmp_path / "prices.yaml"
    table.write_text("models: {fake: {input: 10.0, output: 20.0}}")
    outcomes, stats = label(desk, ROWS, together=100, journal=tmp_path / "j.sqlite", prices=table)
    assert [outcome.value for outcome in outcomes] == [row.upper() for row in ROWS]
    sizes = [len(desk.files[batch["input_file_id"]].splitlines()) for batch in desk.batches.values()]
    assert sum(sizes) == 250
    assert max(sizes) <= 100
    assert desk.direct == []
    assert stats["usd"] == pytest.approx(250 * (10 * 10 + 2 * 20) / 1e6 / 2), "at half the price"
    again, stats = label(desk, ROWS, journal=tmp_path / "j.sqlite")
    assert (stats["calls"], len(desk.asked)) == (0, 250)
    assert [outcome.value for outcome in again] == [outcome.value for outcome in outcomes]


def test_what_a_batch_could_not_do_is_asked_again(desk: BatchServer, tmp_path: Path) -> None:
    desk.fault = {"row 1": 500, "row 2": "expired", "row 3": "missing", "row 4": 429, "row 5": 400}
    outcomes, _ = label(desk, ROWS[:50], journal=tmp_path / "j.sqlite")
    assert [outcome.value for outcome in outcomes] == [row.upper() for row in ROWS[:50]]
    assert sorted(desk.direct) == [f"row {number}" for number in range(1, 6)]


def test_few_rows_are_asked_directly(desk: BatchServer) -> None:
    outcomes, _ = label(desk, ["a", "b"])
    assert [outcome.value for outcome in outcomes] == ["A", "B"]
    assert (desk.batches, sorted(desk.direct)) == ({}, ["a", "b"])


def test_a_stopped_run_finds_its_batch_again(desk: BatchServer, tmp_path: Path) -> None:
    desk.polls = 1_000_000
    label(desk, ROWS, stopped=True, journal=tmp_path / "j.sqlite")
    assert len(desk.batches) == 1
    desk.polls = 0
    outcomes, _ = label(desk, ROWS, journal=tmp_path / "j.sqlite")
    assert [outcome.value for outcome in outcomes] == [row.upper() for row in ROWS]
    assert len(desk.batches) == 1, "nothing is submitted twice"
    assert len(desk.asked) == 250


def test_a_batch_that_was_made_but_not_said_is_found(desk: BatchServer, tmp_path: Path) -> None:
    desk.lost_create = True
    outcomes, _ = label(desk, ROWS, journal=tmp_path / "j.sqlite")
    assert [outcome.value for outcome in outcomes] == [row.upper() for row in ROWS]
    assert (len(desk.batches), len(desk.asked), desk.direct) == (1, 250, [])


def test_a_batch_that_is_refused_stops_the_run(desk: BatchServer, tmp_path: Path) -> None:
    desk.ending = "failed"
    with pytest.raises(ModelError, match=r"refuses batch batch-0 \(line 1: no such model\)"):
        label(desk, ROWS, journal=tmp_path / "j.sqlite")
    assert desk.asked == []


def test_an_expired_batch_gives_what_it_has(desk: BatchServer, tmp_path: Path) -> None:
    desk.ending = "expired"
    desk.fault = dict.fromkeys(ROWS[10:20], "expired")
    outcomes, _ = label(desk, ROWS[:20], journal=tmp_path / "j.sqlite")
    assert [outcome.value for outcome in outcomes] == [row.upper() for row in ROWS[:20]]
    assert len(desk.direct) == 10
