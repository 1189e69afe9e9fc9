"""What `labelspace serve --engine vllm` does: vLLM on a port of its own, and our server before it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from labelspace.errors import ConfigError
from labelspace.progress import note

_RANKS = (8, 16, 32, 64, 128, 256, 512)
"""What vLLM takes as the highest rank of its adapters."""


def serve_vllm(
    folder: str,
    adapters: Sequence[str],
    more: Sequence[str],
    *,
    embedder: str | None,
    batch_size: int,
    **listening: Any,
) -> None:
    """Start vLLM, wait until it has answered, and listen until stopped."""
    from labelspace.finetune.store import MODEL, read_model

    with ExitStack() as stack:
        path = Path(folder)
        if (path / MODEL).exists():
            if read_model(path)["head"]["kind"] == "linear":
                _serve_encoder(path, more, embedder=embedder, batch_size=batch_size, **listening)
                return
            path = stack.enter_context(_exported(path, embedder))
        _serve_export(path, adapters, more, **listening)


@contextmanager
def _exported(model: Path, base: str | None) -> Iterator[Path]:
    """The export of a model, for as long as it is served."""
    from labelspace.finetune.export.vllm import export_merged

    with tempfile.TemporaryDirectory(prefix="labelspace-export-") as folder:
        out = Path(folder) / model.resolve().name
        _, difference = export_merged(model, out, base=base)
        note(f"exported for vLLM; as transformers reads it, its logits are within {difference:.1e} of the model's")
        yield out


def _serve_export(path: Path, adapters: Sequence[str], more: Sequence[str], **listening: Any) -> None:
    from labelspace.serve.app import Model
    from labelspace.serve.counts import Counts
    from labelspace.serve.protocol import ClassifyDialect, ClassifyModel, Upstream, ask_for
    from labelspace.serve.served import Served
    from labelspace.serve.vllm import VLLMServer

    base = Served.load(path)
    if base.task != "classify":
        raise ConfigError(
            f"{path}: gives tags to words, and /classify labels to texts; start vllm serve by hand with the flags in "
            "its README.md, and ask it with labelspace.finetune.served_tagger"
        )
    heads = [Served.load(one) for one in adapters] or [base]
    flags = [*base.flags, *(_adapter_flags(adapters, heads) if adapters else ()), *more]
    body = ClassifyDialect(heads[0]).body(heads[0].model, ask_for(["a"]))
    note("starting vLLM; this takes half a minute, and longer for a large model")
    with VLLMServer(path, flags, name=base.model, probe=("/classify", body)) as address:
        counts = Counts(sorted({name for head in heads for name in head.names}))
        upstreams = {head.model: ClassifyModel(address, head) for head in heads}
        models = {head.model: Model(head, Upstream(upstreams[head.model], head)) for head in heads}
        from labelspace.cli.serve_local import listen

        listen(models, counts=counts, well=next(iter(upstreams.values())).well, **listening)


def _adapter_flags(folders: Sequence[str], heads: Sequence[Any]) -> list[str]:
    import json

    ranks = [json.loads((Path(one) / "adapter_config.json").read_text(encoding="utf-8"))["r"] for one in folders]
    rank = next((most for most in _RANKS if most >= max(ranks)), max(ranks))
    modules = [f"{head.model}={Path(one).resolve()}" for one, head in zip(folders, heads, strict=True)]
    return [
        *("--enable-lora", "--max-loras", str(len(folders)), "--max-lora-rank", str(rank)),
        *("--max-lora-cls-labels", str(max(len(head.names) for head in heads)), "--lora-modules", *modules),
    ]


def _serve_encoder(path: Path, more: Sequence[str], *, embedder: str | None, batch_size: int, **listening: Any) -> None:
    """A linear head whose encoder runs in vLLM."""
    from labelspace.cli.serve_local import serve_local
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
        serve_local(str(path), embedder=f"{address}/v1#encoder", batch_size=batch_size, **listening)
