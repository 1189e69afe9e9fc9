"""`labelspace train`: train a classifier on labelled records."""

from __future__ import annotations

from pathlib import Path

import click

from labelspace.cli.options import cache_option, data_options, embedder_option, seed_option
from labelspace.cli.spaces import load_space
from labelspace.cli.train_rows import check_rows, select_rows
from labelspace.config import apply_overrides, read_yaml
from labelspace.errors import ConfigError

EPILOG = """\b
DATA is labelled by people, or by `labelspace label`: each text then counts by the confidence of its label,
or with --soft teaches the probabilities of all its labels. A share of the texts is held out first, for
the figures that are printed and saved with the model; a linear head is then trained on all of them.
--search scores settings on the texts that are held out, and takes the best; the same command goes on after
a stop. A head of a language model sends its loss to --set training.log=tensorboard (files under runs/)
or =wandb.

\b
Example:
  labelspace train sample:support --space sample:support --out model"""

EMBEDDED = ("linear", "mlp", "lightgbm", "knn")
"""Heads over embeddings."""


@click.command(epilog=EPILOG)
@click.argument("data")
@click.option(
    "--space", metavar="FILE", help="Label space, YAML or JSON; or sample:support. If not given, the labels in DATA."
)
@click.option("--out", required=True, metavar="MODEL_DIR", help="Folder of the model.")
@click.option(
    "--head",
    type=click.Choice([*EMBEDDED, "ls", "few-shot", "ls-descriptions", "ls-token", "ptec"]),
    default="linear",
    show_default=True,
    help="Over embeddings: linear, mlp of two layers, lightgbm, knn. Of a language model: ls for texts, few-shot for "
    "a handful of texts a label, ls-token for words, ptec for a soft prompt, ls-descriptions to read what labels mean, "
    "so that new ones need no training.",
)
@click.option("--base", metavar="MODEL", help="Folder or Hub name of the language model; for heads of one.")
@click.option(
    "--settings",
    metavar="FILE",
    help="YAML file with settings of the head; or the name of a shipped one: ls-llama, ls-unllama, ls-encoder, "
    "ls-frozen, few-shot, ls-descriptions, ls-token, ptec.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="One setting, such as hidden=64 or training.epochs=3; may be given again.",
)
@click.option("--search", is_flag=True, help="Try the settings that matter most, and take the best.")
@click.option(
    "--try",
    "tried",
    multiple=True,
    metavar="KEY=[VALUE, ...]",
    help="Search over these values instead, such as C=[1, 10] or training.learning_rate=[1e-4, 5e-4].",
)
@click.option(
    "--trials", type=click.IntRange(min=1), default=12, show_default=True, help="Combinations to try at most."
)
@embedder_option
@cache_option
@click.option(
    "--C",
    "strength",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    help="Inverse strength of the penalty on the weights of a linear head.",
)
@click.option("--balanced", is_flag=True, help="Give each label the same weight in all, however rare it is.")
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Leave out labels of less confidence.",
)
@click.option("--weigh/--no-weigh", default=True, show_default=True, help="Let a text count by its label's confidence.")
@click.option(
    "--soft",
    is_flag=True,
    help="Learn from probabilities of labels, or votes, where a record has them: in a column `scores`, as labelspace "
    "label writes it, or as {label: probability} for the label.",
)
@click.option(
    "--dev-fraction",
    type=click.FloatRange(0, 0.9),
    default=0.1,
    show_default=True,
    help="Share of the texts that is held out for the figures; 0 for none.",
)
@data_options
@seed_option
def command(
    *,
    data: str,
    space: str | None,
    out: str,
    head: str,
    base: str | None,
    settings: str | None,
    overrides: tuple[str, ...],
    search: bool,
    tried: tuple[str, ...],
    trials: int,
    embedder: str,
    cache: bool,
    strength: float,
    balanced: bool,
    min_confidence: float,
    weigh: bool,
    soft: bool,
    dev_fraction: float,
    text_column: str | None,
    label_column: str | None,
    id_column: str | None,
    seed: int,
) -> None:
    """Train a classifier on the labelled records of DATA.

    DATA is a file, a datasets folder, - for standard input, or sample:support.
    """
    from labelspace.cli.train_embedded import train_embedded
    from labelspace.cli.train_search import Plan
    from labelspace.data import read_records
    from labelspace.finetune.tuned_store import check_target

    check_target(Path(out))
    known = None if space is None else load_space(space)
    plan = Plan.of(head, tried, trials=trials, seed=seed) if search or tried else None
    if plan is not None and not dev_fraction:
        raise ConfigError("--search needs texts to score settings on; give a --dev-fraction above 0")
    _check_options(head)
    if head not in EMBEDDED:
        from labelspace.cli.train_tuned import Head, train_tagger, train_tuned

        tuned = Head(head, base or "", settings, overrides, seed)
    elif base:
        raise ConfigError(
            f"--base is for heads of a language model, such as ls; a {head} head reads what --embedder gives"
        )
    if head == "ls-token":
        if soft:
            raise ConfigError("--soft is for labels of texts; an ls-token head learns tags of words")
        records = read_records(data, text_column=text_column, label_column=label_column, id_column=id_column)
        train_tagger(list(records), tuned, out=out, source=data, share=dev_fraction, plan=plan, weigh=weigh)
        return
    records = read_records(data, text_column=text_column, label_column=label_column, id_column=id_column, space=known)
    rows = select_rows(records, known, min_confidence=min_confidence, weigh=weigh, soft=soft)
    known = check_rows(rows, known, path=data)
    if head not in EMBEDDED:
        train_tuned(rows, known, tuned, out=out, source=data, share=dev_fraction, plan=plan)
        return
    chosen = {
        "head": head,
        "embedder": embedder,
        "cache": cache,
        "balanced": balanced,
        "min_confidence": min_confidence,
        "weighed_by_confidence": weigh,
        "soft": soft,
        "seed": seed,
    }
    own = apply_overrides({} if settings is None else read_yaml(settings), overrides)
    if head == "linear":
        own = {"C": strength, **own}
    train_embedded(rows, known, chosen, own, out=out, source=data, share=dev_fraction, plan=plan)


def _check_options(head: str) -> None:
    """Refuse options that the head would pass over in silence.

    Raises:
        ConfigError: One was given.
    """
    given = click.get_current_context().get_parameter_source
    alone = {"embedder": EMBEDDED, "balanced": EMBEDDED, "strength": ("linear",)}
    shown = {
        "embedder": "--embedder is for heads over embeddings; a head of a language model reads with its --base",
        "balanced": "--balanced is for heads over embeddings; write --set loss=balanced, or --set pos_weight=true "
        "where a text has several labels",
        "strength": "--C is for a linear head",
    }
    for name, heads in alone.items():
        if head not in heads and given(name) == click.core.ParameterSource.COMMANDLINE:
            raise ConfigError(f"{shown[name]}: this one is {head}")
