"""Plug-in for the labeling benchmark: the public `Labeler`, and the engine alone, journal always on.

    bench_labeling.py run --plugin labeling_plugin.py --python labelspace=PYTHON --python labelspace-engine=PYTHON \
        --systems bare-aiohttp,openai-sdk,labelspace,labelspace-engine --latency 0,50 --concurrency 64,256

The benchmark puts `system` and `Job` here; its prompt is used by the engine, ours by the `Labeler`. curator needs
litellm's tokenizer files: link `tiktoken_cache` beside the benchmark to litellm/litellm_core_utils/tokenizers.

One run of `--systems bare-aiohttp,labelspace,openai-sdk,curator --latency 50,0 --concurrency 64,256 --repeat 3 --floor`
(2,000 rows, median of three), on two idle cores. Rows a second of the labeling call, imports and set-up apart; its
share of bare aiohttp's in brackets; CPU ms a row:

    system        50 ms, 64         50 ms, 256        0 ms, 64          0 ms, 256         peak MB  set-up
    bare aiohttp  1,170       0.20  3,012       0.24  5,663       0.14  5,008       0.20  43       0.1 s
    labelspace    1,143 (.98) 0.36  2,737 (.91) 0.30  4,615 (.81) 0.21  3,953 (.79) 0.24  65       0.5 s
    openai SDK      595 (.51) 1.64    464 (.15) 2.14    696 (.12) 1.44    486 (.10) 2.06  78       0.5 s
    curator         561 (.48) 1.88    503 (.17) 2.10    583 (.10) 1.84    532 (.11) 2.01  318      3.1 s
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
