"""Plug-in for the labeling benchmark: the public `Labeler`, and the engine alone, journal always on.

    bench_labeling.py run --plugin labeling_plugin.py --python labelspace=PYTHON --python labelspace-engine=PYTHON \
        --systems bare-aiohttp,openai-sdk,labelspace,labelspace-engine --latency 0,50 --concurrency 64,256

The benchmark puts `system` and `Job` here; its prompt is used by the engine, ours by the `Labeler`.
"""

from __future__ import annotations

from typing import Any


@system("labelspace", profile="plain", note="Labeler.predict, choices constrained, log-probabilities, SQLite journal")  # type: ignore[name-defined]  # noqa: F821
def labeler(job: Any) -> Any:
    import aiohttp  # noqa: F401

    from labelspace import Labeler, LabelSpace
    from labelspace.llm import client  # noqa: F401 - imported by the first request otherwise

    one = Labeler(
        LabelSpace.of(job.labels),
        model=f"{job.base_url}#{job.model}",
        journal=f"{job.tmp}/journal.sqlite",
        concurrency=job.concurrency,
    )

    def run() -> list[str | None]:
        return [prediction.label for prediction in one.predict(job.rows)]

    return run


@system("labelspace-engine", profile="plain", note="Engine.map over the benchmark's own prompt, SQLite journal")  # type: ignore[name-defined]  # noqa: F821
def engine(job: Any) -> Any:
    import aiohttp  # noqa: F401

    from labelspace.llm import (
        Engine,
        Reply,
        ReplyError,
        Request,
        client,  # noqa: F401
        iterate,
    )

    labels = frozenset(job.labels)

    def make(text: str) -> Request:
        return Request([{"role": "user", "content": job.prompt(text)}])

    def parse(reply: Reply, _text: str) -> str:
        label = reply.text.strip()
        if label not in labels:
            raise ReplyError("Answer with one of the labels.")
        return label

    async def stream() -> Any:
        model = f"{job.base_url}#{job.model}"
        async with Engine(model, journal=f"{job.tmp}/journal.sqlite", concurrency=job.concurrency) as one:
            async for outcome in one.map(job.rows, make, parse, purpose="label"):
                yield outcome.value

    def run() -> list[str | None]:
        return list(iterate(stream))

    return run
