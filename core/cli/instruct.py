"""`labelspace instruct`: write labeling instructions from labelled records, and test whether they help."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from labelspace.cli.options import data_options, embedder_option, prompts_option, seed_option
from labelspace.cli.spaces import load_space, space_option
from labelspace.errors import ConfigError
from labelspace.progress import note

if TYPE_CHECKING:
    from collections.abc import Iterable

    from labelspace.records import Prediction, Record
    from labelspace.space import LabelSpace

EPILOG = """\b
For each label a definition, what belongs, what does not, and borderline examples, written by a model from
EXAMPLES, which are labelled. Records that they are not written from (--dev, or a part of EXAMPLES) are then
labelled with and without. OUT says whether that shows an improvement; `labelspace label --instructions OUT`
uses them only if it does.

\b
Example:
  labelspace instruct sample:support --space sample:support --out instructions.yaml \\
    --model http://127.0.0.1:8000/v1#name --dry-run"""


@click.command(epilog=EPILOG)
@click.argument("examples")
@space_option
@click.option("--out", required=True, metavar="FILE", help="Where instructions go, as YAML.")
@click.option("--model", required=True, metavar="MODEL", help="As for labelspace label.")
@click.option("--dev", metavar="FILE", help="Labelled records to test on; a third of EXAMPLES if not given.")
@click.option(
    "--dev-rows", type=click.IntRange(min=1), default=300, show_default=True, metavar="N", help="Records tested on."
)
@click.option(
    "--per-label", type=click.IntRange(min=1), default=6, show_default=True, metavar="N", help="Examples of a label."
)
@click.option(
    "--together",
    type=click.IntRange(min=1),
    default=6,
    show_default=True,
    metavar="N",
    help="Labels in one request, those most like each other.",
)
@click.option(
    "--use-case", default="", metavar="TEXT", help="What the labels are for, in a sentence; a model reads it."
)
@click.option(
    "--batch-documents",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Documents in one request of the test.",
)
@embedder_option
@prompts_option
@click.option("--journal", metavar="FILE", help="SQLite file that keeps replies; beside --out if not given.")
@click.option("--concurrency", type=click.IntRange(min=1), metavar="N", help="Requests in flight; auto if not given.")
@click.option("--dry-run", is_flag=True, help="Show the first request and how many there are; nothing is asked.")
@data_options
@seed_option
def command(
    *,
    examples: str,
    space: str,
    out: str,
    model: str,
    dev: str | None,
    dev_rows: int,
    per_label: int,
    together: int,
    use_case: str,
    batch_documents: int,
    embedder: str,
    prompts: Path | None,
    journal: str | None,
    concurrency: int | None,
    dry_run: bool,
    text_column: str | None,
    label_column: str | None,
    id_column: str | None,
    seed: int,
) -> None:
    """Write labeling instructions for the labels of a space from labelled EXAMPLES."""
    from random import Random

    from labelspace.agents.labeling.instruct import compare, instruction_requests, write_instructions
    from labelspace.agents.labeling.instruct_groups import make_groups
    from labelspace.agents.labeling.instructions import Instructions, instructed, say
    from labelspace.agents.labeling.labeler import Labeler
    from labelspace.data import read_records
    from labelspace.embed import cache_folder, load_embedder
    from labelspace.llm import Engine, run

    known = load_space(space)

    def read(path: str) -> list[Record]:
        found = read_records(path, text_column=text_column, label_column=label_column, id_column=id_column, space=known)
        rows = [one for one in found if one.labels is not None and not one.is_blank]
        Random(seed).shuffle(rows)
        return rows

    pool = read(examples)
    if dev is None:
        cut = len(pool) // 3
        pool, held = pool[cut:], pool[:cut]
    else:
        held = read(dev)
    held = held[:dev_rows]
    if not pool or not held:
        raise ConfigError(
            f"{examples}: instructions need labelled records to be written from, and others to be tested on"
        )
    texts = {one.text for one in held}
    pool = [one for one in pool if one.text not in texts]
    measure = load_embedder(embedder, cache=None if embedder == "tfidf" else cache_folder())
    groups = make_groups(known, pool, embedder=measure, together=together, each=per_label)
    if dry_run:
        requests = instruction_requests(known, groups, use_case=use_case, prompts=prompts)
        for message in requests[0].messages:
            click.echo(f"--- {message['role']}\n{message['content']}")
        calls = 2 * -(-len(held) // batch_documents)
        click.echo(f"{len(requests):,} requests write, {calls:,} test on {len(held):,} records.")
        click.echo("Dry run: nothing was asked.")
        return
    journal = journal or f"{out}.journal.sqlite"
    limit: int | Literal["auto"] = concurrency or "auto"

    async def write() -> Instructions:
        async with Engine(model, journal=journal, concurrency=limit, progress=True) as engine:
            guidance, source = await write_instructions(engine, known, groups, use_case=use_case, prompts=prompts)
        return Instructions(space=known.name, used=False, source=source, labels=guidance)

    def label(which: LabelSpace, records: list[Record]) -> Iterable[Prediction]:
        return Labeler(
            which,
            model=model,
            use_case=use_case,
            prompts=prompts,
            journal=journal,
            concurrency=limit,
            batch_documents=batch_documents,
            progress=True,
        ).predict(records)

    written = run(write())
    evidence, better = compare(known, instructed(known, written.labels), held, label, seed=seed)
    written.model_copy(update={"used": better, "evidence": evidence}).save(out)
    note(f"{len(written.labels):,} labels have instructions, written to {out}")
    note(f"The {say(evidence)}")
    if better:
        note(f"Next: labelspace label DATA --space {space} --instructions {out} --model {model} --out labels.jsonl")
    else:
        note("That shows no improvement, so they are not used.")
