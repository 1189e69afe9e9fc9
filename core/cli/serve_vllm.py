"""What `labelspace serve --engine vllm` does: vLLM on a port of its own, and our server before it."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelspace.errors import ConfigError, ModelError
from labelspace.progress import note

if TYPE_CHECKING:
    from labelspace.cli.serve_cascade import Cascading
    from labelspace.serve.served import Served

_RANK, _LABELS, _AT_ONCE, _HELD = 16, 512, 4, 64
"""Of heads that come later: rank where none lies there yet, labels, how many run at once, and how many are kept."""
_RANKS = (8, 16, 32, 64, 128, 256, 512)
"""What vLLM takes as the highest rank of its adapters."""


def serve_vllm(
    folder: str,
    adapters: Sequence[str],
    heads: str | None,
    more: Sequence[str],
    *,
    embedder: str | None,
    batch_size: int | None,
    **listening: Any,
) -> None:
    """Start vLLM, wait until it has answered, and listen until stopped."""
    from labelspace.finetune.store import EMBEDDED, MODEL, read_model

    # Whoever stops this while vLLM starts must not leave it behind: the way out leads through the blocks below.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with ExitStack() as stack:
        path = Path(folder)
        if (path / MODEL).exists():
            if read_model(path)["head"]["kind"] in EMBEDDED:
                _serve_encoder(path, more, embedder=embedder, batch_size=batch_size, **listening)
                return
            path = stack.enter_context(_exported(path, embedder))
        _serve_export(path, adapters, heads, more, **listening)


@contextmanager
def _exported(model: Path, base: str | None) -> Iterator[Path]:
    """The export of a model, for as long as it is served."""
    from labelspace.finetune.export.vllm import export_merged

    with tempfile.TemporaryDirectory(prefix="labelspace-export-") as folder:
        out = Path(folder) / model.resolve().name
        _, difference = export_merged(model, out, base=base)
        note(f"exported for vLLM; as transformers reads it, its logits are within {difference:.1e} of the model's")
        yield out


def _serve_export(
    path: Path,
    adapters: Sequence[str],
    heads: str | None,
    more: Sequence[str],
    *,
    cascade: Cascading | None = None,
    **listening: Any,
) -> None:
    from labelspace.cli.serve_cascade import cascading
    from labelspace.cli.serve_local import listen
    from labelspace.serve.counts import Counts
    from labelspace.serve.models import Model, Models, VLLMBase
    from labelspace.serve.protocol import ClassifyDialect, ClassifyModel, Upstream, ask_for
    from labelspace.serve.served import Served
    from labelspace.serve.vllm import VLLMServer, ask

    base = Served.load(path)
    if base.task != "classify":
        if adapters or heads or cascade is not None:
            raise ConfigError("a tagger is served alone, without --adapter, --heads and --cascade")
        _serve_tagger(path, base, more, **listening)
        return
    if cascade is not None and (adapters or heads):
        raise ConfigError("a cascade is tuned for one head; serve that alone, without --adapter and --heads")
    known = [Served.load(one) for one in adapters]
    if len({one.model for one in known}) < len(known):
        raise ConfigError("two adapters have the same name, by which requests choose; name their folders differently")
    flags = [*base.flags, *(_adapter_flags(adapters, heads, known) if adapters or heads else ()), *more]
    first = known[0] if known else base
    dialect = ClassifyDialect(first)
    probe = (dialect.path, dialect.body(first.model, ask_for(["a"])))
    environment = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"} if heads else {}
    note("starting vLLM; this takes half a minute, and longer for a large model")
    with VLLMServer(path, flags, name=base.model, probe=probe, environment=environment) as address:

        def make(served: Served) -> Model:
            return Model(served, Upstream(ClassifyModel(address, served), served))

        started = [make(one) for one in known or ([] if heads else [base])]
        models = Models(
            started,
            heads=None if heads is None else Path(heads),
            base=VLLMBase(lambda where, what: ask(address + where, what)),
            make=make,
        )
        counts = Counts(sorted({name for one in started for name in one.served.names}))
        with cascading(cascade, base, counts, listening["limits"]) as completed:
            if completed is not None:
                started[0].cascade = completed
            listen(models, counts=counts, well=ClassifyModel(address, first).well, **listening)


def _serve_tagger(
    path: Path, served: Served, more: Sequence[str], *, host: str, port: int, key: str | None, check: bool, **_: Any
) -> None:
    """VLLM itself on the port: a caller has the export, whose tokenizer finds the tokens of words.

    Raises:
        ConfigError: Others than this machine were to reach it, or a key to guard it.
    """
    from labelspace.serve.vllm import VLLMServer

    if key or host not in ("127.0.0.1", "localhost", "::1"):
        raise ConfigError(
            "tags come from vLLM's own /pooling, which its key does not guard; serve a tagger on 127.0.0.1 without a "
            "key, behind a proxy that asks for one"
        )
    note("starting vLLM; this takes half a minute, and longer for a large model")
    probe = ("/pooling", {"input": "a", "task": served.asks, "use_activation": False})
    flags = [*served.flags, *more]
    server = VLLMServer(path, flags, name=served.model, probe=probe, host=host, port=port)
    with server as address:
        note(f"serving {served.model} at {address}, and it has answered; vLLM's own pages: {address}/docs")
        note(f"Next: labelspace predict {address} DATA --export {path} --out tagged.jsonl")
        while server.runs and not check:
            time.sleep(0.2)
    if not check:
        raise ModelError("vLLM has ended by itself")


def _adapter_flags(adapters: Sequence[str], heads: str | None, known: Sequence[Served]) -> list[str]:
    """What makes room for the adapters that are given, and for those that may come."""
    import json

    folders = [Path(one) for one in adapters]
    coming = [path.parent for path in Path(heads or "").glob("*/adapter_config.json")] if heads else []
    ranks = [json.loads((one / "adapter_config.json").read_text(encoding="utf-8"))["r"] for one in (*folders, *coming)]
    rank = next((most for most in _RANKS if most >= max(ranks, default=_RANK)), _RANKS[-1])
    labels = max([*(len(one.names) for one in known), *([_LABELS] if heads else [])])
    flags = ["--enable-lora", "--max-loras", str(len(folders) or _AT_ONCE), "--max-lora-rank", str(rank)]
    flags += ["--max-cpu-loras", str(max(len(folders), _HELD if heads else 0)), "--max-lora-cls-labels", str(labels)]
    modules = [f"{one.model}={folder.resolve()}" for folder, one in zip(folders, known, strict=True)]
    return [*flags, *(["--lora-modules", *modules] if modules else [])]


def _serve_encoder(
    path: Path, more: Sequence[str], *, embedder: str | None, batch_size: int | None, **listening: Any
) -> None:
    """A head over text embeddings whose encoder runs in vLLM."""
    from labelspace.cli.serve_local import serve_local
    from labelspace.embed.server import ServerEmbedder
    from labelspace.finetune.store import read_model
    from labelspace.serve.vllm import VLLMServer

    spec = (embedder or str(read_model(path)["embedder"]["spec"])).removeprefix("st:")
    if not Path(spec).expanduser().is_dir():
        raise ConfigError(f"the embedder {spec!r} is no folder that vLLM could serve; use --engine local")
    note("starting vLLM for the encoder; this takes half a minute")
    flags = ["--runner", "pooling", "--dtype", "float32", *more]
    with VLLMServer(
        Path(spec).expanduser(), flags, name="encoder", probe=("/v1/embeddings", {"input": "a"})
    ) as address:
        # vLLM would refuse a text that is too long; sentence-transformers, with which the head was trained, cuts it.
        encoder = ServerEmbedder(f"{address}/v1#encoder", parameters={"truncate_prompt_tokens": -1})
        serve_local(str(path), embedder=encoder, batch_size=batch_size, **listening)
