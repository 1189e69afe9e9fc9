"""`labelspace label`: give each record a label of a space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from labelspace.cli.label_options import asking_options
from labelspace.cli.options import (
    cache_option,
    data_options,
    embedder_option,
    prompts_option,
    seed_option,
)
from labelspace.cli.spaces import load_space, space_option
from labelspace.errors import ConfigError
from labelspace.progress import note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labelspace.agents.labeling.demonstrations import Way
    from labelspace.records import Record
    from labelspace.space import LabelSpace

EPILOG = """\b
Without a model, each text gets the label whose name, description and examples are most like it; a file
is read twice, as labels are first adapted to its texts. With a model, each text is one request. Replies
are kept in the journal, so the same command goes on after a stop and asks nothing twice. Where a run
stops early (budget, too many failures, Ctrl-C), what is done is kept, and OUT.run.json tells all.

\b
Example:
  labelspace label sample:support --space sample:support --out labels.jsonl"""


def _concurrency(_context: click.Context, _option: click.Parameter, given: str) -> int | Literal["auto"]:
    if given == "auto":
        return "auto"
    if not given.isdigit() or int(given) < 1:
        raise click.BadParameter(f"{given!r} is neither auto nor a number from 1 on")
    return int(given)


@click.command(epilog=EPILOG)
@click.argument("data")
@space_option
@click.option(
    "--out", required=True, metavar="FILE", help="Where labels go: .jsonl, .csv, .tsv, .parquet; - for stdout."
)
@click.option(
    "--model",
    multiple=True,
    metavar="MODEL",
    help="none; http://host/v1#name for any OpenAI-compatible server; or provider:name through LangChain. "
    "Several, each with --model, vote; confidence tells how far they agree.  [default: none]",
)
@embedder_option
@cache_option
@asking_options
@click.option(
    "--batch-api", is_flag=True, help="Ask through the server's batch API: half the price, within a day; resumable."
)
@click.option(
    "--poll",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="With --batch-api: time between two looks at a batch.",
)
@click.option(
    "--engine",
    "where",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Label in this process, or in Ray actors, each with a journal of its own.",
)
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Ray actors; one for each CPU if not given.")
@click.option(
    "--partition-rows",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    metavar="N",
    help="Rows that a Ray actor takes at a time.",
)
@click.option(
    "--ray-address", metavar="ADDRESS", help="Ray cluster; RAY_ADDRESS, or one on this machine, if not given."
)
@prompts_option
@click.option("--journal", metavar="FILE", help="SQLite file that keeps replies; beside --out if not given.")
@click.option(
    "--concurrency",
    default="auto",
    show_default=True,
    callback=_concurrency,
    help="Requests in flight: auto or a number.",
)
@click.option("--budget", metavar="LIMIT", help="The most to spend: '5 USD', '200k tokens' or '1000 calls'.")
@click.option("--rpm", type=click.FloatRange(min=0, min_open=True), metavar="N", help="The most requests a minute.")
@click.option("--tpm", type=click.FloatRange(min=0, min_open=True), metavar="N", help="The most tokens a minute.")
@click.option("--max-errors", type=click.IntRange(min=0), metavar="N", help="Stop after more failed rows than this.")
@click.option("--retry-failed", is_flag=True, help="Ask again the rows that an earlier run gave up.")
@click.option(
    "--dry-run", is_flag=True, help="Show the first prompt, and count calls, tokens and money; nothing is asked."
)
@data_options
@seed_option
def command(
    *,
    data: str,
    space: str,
    out: str,
    model: tuple[str, ...],
    embedder: str,
    cache: bool,
    use_case: str,
    rationale: bool,
    one_token: bool,
    confidence: Literal["auto", "logprobs", "verbal", "sampled"],
    samples: int | None,
    permutations: int,
    descend: bool,
    candidates: int | None,
    examples: str | None,
    shots: int,
    shots_by: Way,
    context: int,
    instructions: str | None,
    batch_documents: int,
    batch_api: bool,
    poll: float,
    where: Literal["local", "ray"],
    workers: int | None,
    partition_rows: int,
    ray_address: str | None,
    prompts: Path | None,
    journal: str | None,
    concurrency: int | Literal["auto"],
    budget: str | None,
    rpm: float | None,
    tpm: float | None,
    max_errors: int | None,
    retry_failed: bool,
    dry_run: bool,
    text_column: str | None,
    label_column: str | None,
    id_column: str | None,
    seed: int,
) -> int:
    """Give each record of DATA a label of a space.

    DATA is a file, a datasets folder, - for standard input, or sample:support.
    """
    from labelspace.cli.summary import say_what_was_made
    from labelspace.data import count_rows, read_records

    known = load_space(space)
    if instructions is not None:
        from labelspace.agents.labeling.instructions import with_instructions

        known = with_instructions(known, instructions)
    engine: dict[str, Any] = {
        "budget": budget,
        "rpm": rpm,
        "tpm": tpm,
        "max_errors": max_errors,
        "retry_failed": retry_failed,
    }

    def records() -> Iterator[Record]:
        return read_records(data, text_column=text_column, label_column=label_column, id_column=id_column)

    total = None if data == "-" else count_rows(data)
    models = model or ("none",)
    if models == ("none",):
        asked = {
            "rationale": rationale,
            "one_token": one_token,
            "batch_api": batch_api,
            "samples": samples,
            "descend": descend,
            "candidates": candidates,
            "examples": examples,
            "dry_run": dry_run,
        }
        given = [name for name, value in {**engine, **asked}.items() if value]
        if given:
            raise ConfigError(f"--{given[0].replace('_', '-')} is for a model: name one with --model")
        counts = _by_similarity(
            known, out, records, embedder=embedder, cache=cache, seed=seed, twice=data != "-", n=total
        )
        code, labelled = say_what_was_made(out, counts), counts["ok"]
    else:
        from labelspace.cli.label_model import Run, labelers, show_what_would_be_asked

        if "none" in models:
            raise ConfigError("--model none is no model: leave it out, or leave out the others")
        if journal is None and out != "-":
            journal = f"{out}.journal.sqlite"
        if dry_run and journal is not None and not Path(journal).exists():
            journal = None
        asking: dict[str, Any] = {
            "use_case": use_case,
            "rationale": rationale,
            "one_token": one_token,
            "confidence": confidence,
            "samples": samples,
            "permutations": permutations,
            "descend": descend,
            "candidates": candidates,
            "shots": shots,
            "shots_by": shots_by,
            "context": context,
            "batch_documents": batch_documents,
            "embedder": embedder,
            "seed": seed,
        }
        shared: dict[str, Any] = {"concurrency": concurrency, "engine": engine, **asking}
        if not cache and where == "local":
            from labelspace.embed import load_embedder

            shared["embedder"] = load_embedder(embedder)
        if examples is not None:
            shared["labelled"] = list(
                read_records(examples, text_column=text_column, label_column=label_column, space=known)
            )
        if where == "ray" and (batch_api or out == "-" or len(models) > 1):
            raise ConfigError(
                "--engine ray writes to a file and asks one model directly: leave out --batch-api and further models, "
                "and name --out"
            )
        settings = {
            "data": data,
            "space": space,
            "space_version": known.version,
            "model": list(models),
            "examples": examples,
            "instructions": instructions,
            "batch_api": batch_api,
            "engine": where,
            "workers": workers,
            **asking,
            **engine,
        }
        run = Run(out, journal if where == "local" else f"{out}.parts", settings)
        if where == "ray" and not dry_run:
            folder = None if prompts is None else str(prompts.absolute())
            code = run.label_with_ray(
                known,
                records(),
                folder=f"{out}.parts",
                settings={**shared, "model": models[0], "prompts": folder},
                workers=workers,
                partition_rows=partition_rows,
                address=ray_address,
            )
        else:
            labeler = labelers(
                known, models, journal=journal, prompts=prompts, poll=poll if batch_api else None, **shared
            )
            if dry_run:
                return show_what_would_be_asked(labeler, records())
            code = run.label(labeler, records(), total=total)
        labelled = run.labelled
    if labelled and out != "-":
        note(f"Next: labelspace train {out} --space {space} --out model")
    return code


def _by_similarity(
    space: LabelSpace,
    out: str,
    records: Callable[[], Iterator[Record]],
    *,
    embedder: str,
    cache: bool,
    seed: int,
    twice: bool,
    n: int | None,
) -> dict[str, int]:
    """Label without a model, and count; `twice` says whether the records can be read twice."""
    from labelspace.agents.labeling.zeroshot import SimilarityLabeler
    from labelspace.data import write_predictions
    from labelspace.embed import cache_folder, load_embedder

    labeler = SimilarityLabeler(
        space, embedder=load_embedder(embedder, cache=cache_folder() if cache else None), seed=seed
    )
    if twice:
        labeler.fit_texts(records())
    return write_predictions(out, labeler, records(), total=n)
