"""`labelspace serve`: put a classifier on a port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from labelspace.finetune.serving import Runtime

EPILOG = """\b
POST /classify takes {"input": ["a text", ...]} and answers as vLLM does, with label names, thresholds and the version
of the label space. /labelspace describes the space, /docs is a page to try it, /health and /metrics are for machines.
SIGTERM or Ctrl-C: nothing more is taken, and what was accepted is finished.

\b
Example:
  labelspace train sample:support --space sample:support --out model
  labelspace serve model --port 0 --check"""


@click.command(epilog=EPILOG)
@click.argument("model", metavar="MODEL_DIR")
@click.option(
    "--engine",
    type=click.Choice(["local", "vllm"]),
    default="local",
    show_default=True,
    help="local: in this process. vllm: vLLM is started behind this server; MODEL_DIR is an export.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; loopback if not given.")
@click.option("--port", default=8000, show_default=True, help="Port to listen at; 0 takes any.")
@click.option(
    "--api-key",
    envvar="LABELSPACE_SERVE_KEY",
    metavar="KEY",
    help="What callers must send as Authorization: Bearer KEY; better as LABELSPACE_SERVE_KEY, which `ps` hides.",
)
@click.option("--embedder", metavar="SPEC", help="Where the model's embedder or base is now, if it has moved.")
@click.option(
    "--adapter",
    "adapters",
    multiple=True,
    metavar="FOLDER",
    help="With vllm and a shared base: a head on it, by the name of its folder; may be given again.",
)
@click.option(
    "--heads",
    metavar="FOLDER",
    help="With vllm and a shared base: heads in it are loaded and unloaded while it runs, by POST and DELETE "
    "/heads/NAME.",
)
@click.option(
    "--runtime",
    type=click.Choice(["auto", "onnx", "torch"]),
    default="auto",
    show_default=True,
    help="With local: what runs a language model on a CPU. auto: ONNX Runtime if it is installed and says the same.",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Texts run at once; what is best if not given.")
@click.option("--max-body", type=click.IntRange(min=1024), default=4 << 20, show_default=True, help="Bytes a request.")
@click.option("--max-texts", type=click.IntRange(min=1), default=2048, show_default=True, help="Texts a request.")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=120.0, show_default=True, help="Seconds an answer.")
@click.option(
    "--cascade",
    metavar="FILE",
    help="What `labelspace cascade tune` wrote: where the head is not sure, --model is asked, or a person told.",
)
@click.option(
    "--model",
    "other",
    metavar="MODEL",
    help="With --cascade: what is asked, http://host/v1#name or provider:name; the head answers where it does not.",
)
@click.option("--budget", metavar="BUDGET", help="With --model: the most it may cost: '1000 calls', '5 USD'.")
@click.option("--per-minute", type=click.IntRange(min=0), metavar="N", help="With --model: most texts asked about.")
@click.option(
    "--journal", metavar="FILE", help="With --model: SQLite file that keeps replies and what is spent over restarts."
)
@click.option("--log", metavar="FILE", help="Write answers to FILE, a .jsonl; `labelspace monitor` reads it.")
@click.option("--log-share", type=click.FloatRange(0, 1), default=1.0, show_default=True, help="Share that is written.")
@click.option("--log-texts", is_flag=True, help="Write the texts too.")
@click.option(
    "--log-size",
    type=click.IntRange(min=1024),
    default=256 << 20,
    show_default=True,
    help="Bytes kept: a file that has half of them becomes NAME.1.jsonl.",
)
@click.option("--vllm-argument", "more", multiple=True, metavar="ARG", help="Handed to vllm serve; may be given again.")
@click.option("--check", is_flag=True, help="Start, ask itself one text, and end.")
def command(
    *,
    model: str,
    engine: str,
    host: str,
    port: int,
    api_key: str | None,
    embedder: str | None,
    adapters: tuple[str, ...],
    heads: str | None,
    runtime: Runtime,
    batch_size: int | None,
    max_body: int,
    max_texts: int,
    timeout: float,
    cascade: str | None,
    other: str | None,
    budget: str | None,
    per_minute: int | None,
    journal: str | None,
    log: str | None,
    log_share: float,
    log_texts: bool,
    log_size: int,
    more: tuple[str, ...],
    check: bool,
) -> None:
    """Serve the classifier in MODEL_DIR over HTTP."""
    from labelspace.errors import ConfigError
    from labelspace.serve.guard import Limits

    if not api_key and host not in ("127.0.0.1", "localhost", "::1"):
        raise ConfigError(f"{host} can be reached by others: give a key with LABELSPACE_SERVE_KEY or --api-key")
    if (adapters or heads or more) and engine != "vllm":
        raise ConfigError("--adapter, --heads and --vllm-argument are for --engine vllm")
    if check and heads:
        raise ConfigError("--check asks one text, and --heads starts without a head")
    if cascade is None and (other or budget or per_minute is not None or journal):
        raise ConfigError("--model, --budget, --per-minute and --journal belong to --cascade")
    if other is None and (budget or per_minute is not None or journal):
        raise ConfigError("--budget, --per-minute and --journal are for the --model that is asked")
    if log is None and (log_share != 1 or log_texts):
        raise ConfigError("--log-share and --log-texts say what goes to --log, which is not given")
    limits = Limits(body=max_body, texts=max_texts, answer_seconds=timeout)
    listening: dict[str, Any] = {"host": host, "port": port, "key": api_key or None, "limits": limits, "check": check}
    if log is not None:
        from labelspace.serve.log import AnswerLog

        listening["log"] = AnswerLog(log, share=log_share, texts=log_texts, size=log_size)
    if cascade is not None:
        from labelspace.cli.serve_cascade import Cascading

        listening["cascade"] = Cascading(cascade, other, budget, per_minute, journal)
    if engine == "vllm":
        from labelspace.cli.serve_vllm import serve_vllm

        serve_vllm(model, adapters, heads, more, embedder=embedder, batch_size=batch_size, **listening)
        return
    from labelspace.cli.serve_local import serve_local

    serve_local(model, embedder=embedder, batch_size=batch_size, runtime=runtime, **listening)
