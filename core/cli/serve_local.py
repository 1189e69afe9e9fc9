"""What `labelspace serve` does with the model in this process, and what both engines share."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelspace.errors import ModelError
from labelspace.progress import note

if TYPE_CHECKING:
    import uvicorn

    from labelspace.cli.serve_cascade import Cascading
    from labelspace.embed import Embedder
    from labelspace.finetune.classifier import HeadClassifier
    from labelspace.finetune.serving import Runtime
    from labelspace.serve.counts import Counts
    from labelspace.serve.guard import Limits
    from labelspace.serve.log import AnswerLog
    from labelspace.serve.models import Models
    from labelspace.serve.served import Served

ASKED = "Where is my parcel?"
"""Asked before anybody else can, so that the first caller does not wait; and by --check."""


def serve_local(
    folder: str,
    *,
    embedder: str | Embedder | None,
    batch_size: int | None,
    runtime: Runtime = "auto",
    cascade: Cascading | None = None,
    **listening: Any,
) -> None:
    """Load the model and listen until stopped."""
    from labelspace.cli.serve_cascade import cascading
    from labelspace.finetune.serving import make_ready
    from labelspace.serve.batching import Batcher
    from labelspace.serve.counts import Counts
    from labelspace.serve.models import Model, Models

    ready = make_ready(folder, embedder=embedder, runtime=runtime)
    with ready.kept:
        if ready.remark:
            note(ready.remark)
        ready.head.predict_proba([ASKED])
        served = describe(ready.classifier, Path(folder).resolve().name)
        counts = Counts(served.names)
        backend = Batcher(
            ready.head.predict_proba,
            batch_size=batch_size or ready.batch_size,
            threads=ready.threads,
            ran=counts.ran,
        )
        with cascading(cascade, served, counts, listening["limits"]) as completed:
            listen(Models([Model(served, backend, completed)]), counts=counts, **listening)


def describe(classifier: HeadClassifier, name: str) -> Served:
    """A classifier as its callers see it."""
    from labelspace.serve.served import Served

    head, space = classifier.head, classifier.space
    return Served(
        model=name,
        head=str(classifier.source.get("head", type(head).__name__)),
        space=space,
        names=tuple(classifier.names),
        thresholds=tuple(float(value) for value in head.thresholds_) if space.multi_label else None,
    )


def listen(
    models: Models,
    *,
    counts: Counts,
    host: str,
    port: int,
    key: str | None,
    limits: Limits,
    check: bool,
    log: AnswerLog | None = None,
    well: Callable[[], Awaitable[bool]] | None = None,
) -> None:
    """Serve until stopped; with `check`, ask one text and stop."""
    from labelspace.serve.app import make_app
    from labelspace.serve.run import bind, make_server

    app = make_app(models, counts=counts, limits=limits, key=key, check=well, log=log)
    server, socket = make_server(app, limits), bind(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{socket.getsockname()[1]}"
    note(f"serving {', '.join(models.names) or 'no head yet'} at {address}; a page to try it: {address}/docs")
    failed: list[str] = []
    if check:
        threading.Thread(target=_ask_and_stop, args=(server, address, key, failed), daemon=True).start()
    server.run(sockets=[socket])
    if failed:
        raise ModelError(f"the server does not answer as it should: {failed[0]}")
    note("stopped; what was accepted is answered")


def _ask_and_stop(server: uvicorn.Server, address: str, key: str | None, failed: list[str]) -> None:
    while not server.started:
        time.sleep(0.02)
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    body = json.dumps({"input": ASKED}).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{address}/classify", body, headers), timeout=60) as reply:
            answer = json.load(reply)["data"][0]
        sure = "" if answer["confidence"] is None else f", confidence {answer['confidence']:.3f}"
        note(f"asked {ASKED!r}: {', '.join(answer['labels'])}{sure}")
    except (OSError, ValueError, KeyError) as error:
        failed.append(str(error))
    finally:
        server.should_exit = True
