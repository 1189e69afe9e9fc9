"""Plug-in for the labeling benchmark: the public `Labeler`, and the engine alone, journal always on.

    bench_labeling.py run --plugin labeling_plugin.py --python labelspace=PYTHON --python labelspace-engine=PYTHON \
        --systems bare-aiohttp,openai-sdk,labelspace,labelspace-engine --latency 0,50 --concurrency 64,256

The benchmark puts `system` and `Job` here; its prompt is used by the engine, ours by the `Labeler`. curator needs
litellm's tokenizer files: link `tiktoken_cache` beside the benchmark to litellm/litellm_core_utils/tokenizers.

One run of `--systems bare-aiohttp,labelspace,openai-sdk,curator --latency 50,0 --concurrency 64,256` (2,000 rows,
median of three), on two cores that others kept busy (load 5 to 20), so rows a second differ with the moment at which
a system had its turn; CPU and memory do not. Rows a second, CPU ms a row:

    system        50 ms, 64    50 ms, 256    0 ms, 64      0 ms, 256     peak MB
    bare aiohttp  915   0.17   1,395  0.20   3,351  0.13   2,494  0.18   43
    labelspace    951   0.25   1,114  0.28   1,544  0.21   1,123  0.28   65
    openai SDK    150   2.18     133  2.44     183  2.08     110  2.98   78
    curator       192   1.95     357  1.54     196  2.13     363  1.42   322
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
