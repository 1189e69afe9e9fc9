from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest
from aiohttp import web

from labelspace.embed import load_embedder
from labelspace.embed.server import ServerEmbedder
from labelspace.errors import ModelError


@contextmanager
def serving(answer):
    """Serve `answer(body, headers, number) -> (status, data, headers)` on a free port of this machine."""
    calls = []

    async def embeddings(request):
        body = await request.json()
        calls.append(body)
        status, data, headers = await answer(body, request.headers, len(calls))
        return web.Response(status=status, text=data if isinstance(data, str) else json.dumps(data), headers=headers)

    async def models(request):
        return web.json_response({"object": "list", "data": [{"id": "first-model"}]})

    started, ports = threading.Event(), []
    loop = asyncio.new_event_loop()

    async def start():
        app = web.Application()
        app.router.add_post("/v1/embeddings", embeddings)
        app.router.add_get("/v1/models", models)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        ports.append(runner.addresses[0][1])
        started.set()
        return runner

    def work():
        runner = loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(10)
    try:
        yield f"http://127.0.0.1:{ports[0]}/v1", calls
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def reply(body):
    """One embedding for each text: its length and 1; the items in reverse, as a server may."""
    items = [{"index": i, "embedding": [float(len(text)), 1.0]} for i, text in enumerate(body["input"])]
    return {"object": "list", "data": items[::-1], "model": body["model"]}


async def well(body, headers, number):
    return 200, reply(body), {}


def direction(*lengths):
    rows = np.array([[length, 1.0] for length in lengths])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_rows_come_back_in_order_and_in_batches():
    async def late_first(body, headers, number):
        await asyncio.sleep(0.2 if number == 1 else 0)
        return 200, reply(body), {}

    texts = ["x" * n for n in range(1, 11)]
    with serving(late_first) as (address, calls):
        vectors = load_embedder(f"{address}#bge", batch_size=4).embed([*texts, " "])
    np.testing.assert_allclose(vectors[:10], direction(*range(1, 11)), atol=1e-6)
    assert not vectors[10].any()
    assert sorted(len(call["input"]) for call in calls) == [2, 4, 4]
    assert {call["model"] for call in calls} == {"bge"}


def test_the_first_model_is_taken_where_none_is_named():
    with serving(well) as (address, calls):
        embedder = ServerEmbedder(address)
        assert embedder.version == f"{address}#first-model"
        embedder.embed(["a"])
    assert calls[0]["model"] == "first-model"


@pytest.mark.parametrize("failure", [429, 500, 503])
def test_a_busy_server_is_asked_again(failure):
    async def busy(body, headers, number):
        return (failure, "busy", {"Retry-After": "0"}) if number < 3 else (200, reply(body), {})

    with serving(busy) as (address, calls):
        vectors = ServerEmbedder(f"{address}#m", first_wait=0.01).embed(["abc"])
    np.testing.assert_allclose(vectors, direction(3), atol=1e-6)
    assert len(calls) == 3


def test_only_the_text_that_is_too_long_is_cut():
    async def short_only(body, headers, number):
        if any(len(text) > 1000 for text in body["input"]):
            return 400, {"error": {"message": "maximum context length is 1000"}}, {}
        return 200, reply(body), {}

    with serving(short_only) as (address, _):
        vectors = ServerEmbedder(f"{address}#m").embed(["a" * 5, "b" * 3200, "c" * 7])
    np.testing.assert_allclose(vectors, direction(5, 800, 7), atol=1e-6)


@pytest.mark.parametrize(
    ("status", "data", "message"),
    [
        (401, {"error": {"message": "no such key"}}, "HTTP 401: no such key.*OPENAI_API_KEY"),
        (404, {"detail": "no model m"}, "HTTP 404: no model m.*must end in /v1"),
        (400, {"message": "bad"}, "HTTP 400: bad"),
        (503, "", "no answer after 2 attempts.*HTTP 503"),
        (200, "<html>", "not an embeddings reply"),
        (200, {"data": []}, "1 texts were sent and 0 embeddings"),
        (200, '{"data": [{"index": 0, "embedding": [NaN]}]}', "not an embeddings reply"),
        (200, '{"data": [{"index": 0, "embedding": [1e999]}]}', "not an embeddings reply|not finite"),
    ],
)
def test_what_is_wrong_is_told(status, data, message):
    async def answer(body, headers, number):
        return status, data, {}

    with serving(answer) as (address, _), pytest.raises(ModelError, match=message):
        ServerEmbedder(f"{address}#m", retries=1, first_wait=0.01).embed(["text"])


def test_a_server_that_is_not_there_is_told():
    with pytest.raises(ModelError, match="is the server up"):
        ServerEmbedder("http://127.0.0.1:9/v1#m", retries=1, first_wait=0.01).embed(["text"])


def test_the_key_goes_with_each_request(monkeypatch):
    seen = Counter()

    async def note(body, headers, number):
        seen[headers.get("Authorization")] += 1
        return 200, reply(body), {}

    with serving(note) as (address, _):
        monkeypatch.setenv("OPENAI_API_KEY", "secret")
        ServerEmbedder(f"{address}#m").embed(["a"])
        monkeypatch.delenv("OPENAI_API_KEY")
        ServerEmbedder(f"{address}#m").embed(["a"])
    assert seen == {"Bearer secret": 1, None: 1}


def test_it_works_where_a_loop_already_runs():
    async def main(address):
        return ServerEmbedder(f"{address}#m").embed(["abc"])

    with serving(well) as (address, _):
        np.testing.assert_allclose(asyncio.run(main(address)), direction(3), atol=1e-6)
