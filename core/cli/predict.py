"""`labelspace predict`: apply a trained classifier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from labelspace.cli.options import cache_option, data_options
from labelspace.cli.spaces import load_space
from labelspace.errors import ConfigError

if TYPE_CHECKING:
    from labelspace.records import Classifier

EPILOG = """\b
Example:
  labelspace train sample:support --space sample:support --out model
  labelspace predict model sample:support --out predictions.jsonl"""


@click.command(epilog=EPILOG)
@click.argument("model", metavar="MODEL")
@click.argument("data")
@click.option(
    "--out",
    default="-",
    show_default=True,
    metavar="FILE",
    help="Where predictions go: .jsonl, .csv, .tsv, .parquet; - for stdout.",
)
@click.option(
    "--embedder", metavar="SPEC", help="Where the model's embedder or base is now, if it has moved since the training."
)
@click.option(
    "--space",
    metavar="FILE",
    help="Give the labels of this space instead; for an ls-descriptions head, which reads what they mean.",
)
@click.option(
    "--export",
    "exported",
    metavar="FOLDER",
    help="With an address: the exported model, where the server is a bare vLLM.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Predict in this process, or in Ray actors; with an address, each asks it.",
)
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Ray actors; one for each CPU if not given.")
@click.option(
    "--ray-address", metavar="ADDRESS", help="Ray cluster; RAY_ADDRESS, or one on this machine, if not given."
)
@cache_option
@data_options
def command(
    *,
    model: str,
    data: str,
    out: str,
    embedder: str | None,
    space: str | None,
    exported: str | None,
    engine: str,
    workers: int | None,
    ray_address: str | None,
    cache: bool,
    text_column: str | None,
    label_column: str | None,
    id_column: str | None,
) -> int:
    """Apply a classifier to the records of DATA.

    MODEL is a folder that `labelspace train` or `export` made, or the address of a server: http://host:port,
    with #name where it has several models. A key is read from LABELSPACE_API_KEY.

    DATA is a file, a datasets folder, - for standard input, or sample:support.
    """
    from labelspace.cli.summary import say_what_was_made
    from labelspace.data import count_rows, read_records, write_predictions
    from labelspace.finetune.store import load_classifier, read_model
    from labelspace.progress import note
    from labelspace.serve.served import Served

    records = read_records(data, text_column=text_column, label_column=label_column, id_column=id_column)
    total = None if data == "-" else count_rows(data)
    at_address = model.startswith(("http://", "https://"))
    if not at_address and (about := read_model(model))["head"]["kind"] == "ls-token":
        from labelspace.cli.train_tuned import predict_tags
        from labelspace.finetune.tuned_store import load_tuned

        return predict_tags(load_tuned(model, about, base=embedder), data, out=out)
    if at_address and exported is not None and Served.load(exported).task == "token_classify":
        from labelspace.cli.train_tuned import predict_tags
        from labelspace.finetune.served_tagger import ServedTagger

        return predict_tags(ServedTagger(model, exported), data, out=out)
    classifier: Classifier
    if space is not None and (at_address or engine == "ray"):
        raise ConfigError("--space goes with a model's folder and --engine local")
    if engine == "ray":
        from labelspace.finetune.predict_ray import RayClassifier

        where = model if at_address else str(Path(model).resolve())
        classifier = RayClassifier(where, embedder=embedder, export=exported, workers=workers, address=ray_address)
    elif at_address:
        from labelspace.serve.client import VLLMClassifier

        classifier = VLLMClassifier(model, export=exported)
    else:
        head = load_classifier(model, embedder=embedder, cached=cache)
        classifier = head if space is None else head.with_space(load_space(space))
    counts = write_predictions(out, classifier, records, title="predicting", total=total)
    code = say_what_was_made(out, counts)
    if counts["ok"] and out != "-":
        note(f"Next: labelspace evaluate {out} GOLD")
    return code
