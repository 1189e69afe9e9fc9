"""`labelspace monitor`: has what a classifier says changed, and are labels missing?"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelspace.cli.options import cache_option, embedder_option, seed_option

if TYPE_CHECKING:
    from labelspace.agents.clustering.novelty import Candidate
    from labelspace.records import Prediction

DRIFT_FOUND = 3
CHECK = "check.jsonl"
LEARNT_FROM = 20_000
"""Texts of each file that TF-IDF learns from, besides those that fit nowhere."""

EPILOG = """\b
Compared are the shares of labels, confidences and the share of what fits nowhere: rows that abstained, or have no
label or the space's bucket for others. The reference should be rows that the classifier has not learnt from.

\b
FOLDER gets report.txt, report.json and new.jsonl: texts that fit nowhere, or about which the classifier is less
sure than about nearly all of the reference, in clusters that have grown. `labelspace discover --update` takes it.
With --checks it gets check.jsonl: rows to label anew, by a person or `labelspace label`, for --labels of the next call.

\b
Exit codes: 0, or 3 with --fail-on-drift where there is drift.

\b
Example:
  labelspace train sample:support --space sample:support --out model
  labelspace predict model sample:support --out before.jsonl
  labelspace predict model sample:support --out now.jsonl
  labelspace monitor now.jsonl --reference before.jsonl --labels sample:support.truth --out monitoring"""


@click.command(epilog=EPILOG)
@click.argument("predictions")
@click.option("--reference", required=True, metavar="FILE", help="Predictions from when all was well.")
@click.option("--space", "named", metavar="FILE", help="Label space in use, YAML or JSON; or sample:support.")
@click.option(
    "--labels", "checks", metavar="FILE", help="Spot checks by people or an LLM: records with ids and labels."
)
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER", help="Where it goes."
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 0.5, min_open=True),
    default=0.05,
    show_default=True,
    help="Probability of a false alarm, of all tests together.",
)
@click.option(
    "--least-effect",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    help="A smaller change, as a share of rows, is not called drift.",
)
@click.option(
    "--unsure",
    type=click.FloatRange(0, 0.5),
    default=0.05,
    show_default=True,
    metavar="SHARE",
    help="Look for new labels also among rows less sure than all but this share of the reference; 0 for no.",
)
@click.option(
    "--checks",
    "sampled",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Draw N rows with texts for spot checks into check.jsonl, without what was said of them; see --labels.",
)
@click.option("--fail-on-drift", is_flag=True, help="End with exit code 3 where there is drift.")
@embedder_option
@cache_option
@seed_option
def command(
    *,
    predictions: str,
    reference: str,
    named: str | None,
    checks: str | None,
    out: Path,
    alpha: float,
    least_effect: float,
    unsure: float,
    sampled: int,
    fail_on_drift: bool,
    embedder: str,
    cache: bool,
    seed: int,
) -> int:
    """Compare PREDICTIONS with those of a reference, and propose labels that are missing.

    Both are files that `labelspace predict` or `labelspace label` wrote, or any with ids and labels; new labels are
    looked for where there is a column of texts.
    """
    from labelspace.agents.clustering.novelty import find_candidates
    from labelspace.cli.spaces import load_space
    from labelspace.data import read_records, write_rows
    from labelspace.embed import cache_folder, load_embedder
    from labelspace.errors import ConfigError, DataError
    from labelspace.metrics.fates import fate
    from labelspace.metrics.monitoring import monitor
    from labelspace.progress import note

    if "-" in (predictions, reference):
        raise ConfigError("files of predictions are read twice, so they can't come from standard input; name them")
    space = None if named is None else load_space(named)
    other = None if space is None else space.other
    now, texts = _read(predictions, space)
    before, old_texts = _read(reference, space)
    spot = [] if checks is None else list(read_records(checks, needs_text=False))
    found = monitor(now, before, checks=spot, other=other, alpha=alpha, least_effect=least_effect, seed=seed)
    places, old_places = _strange(now, before, other, unsure)
    with_texts = any(map(str.strip, old_texts))
    count, candidates = 0, list["Candidate"]()
    if any(map(str.strip, texts)):
        could = [sum(fate(one, other) in ("answered", "nowhere") for one in side) for side in (now, before)]
        count, candidates = find_candidates(
            [texts[at] for at in places],
            [old_texts[at] for at in old_places] if with_texts else [],
            rows=(could[0], could[1] if with_texts else None),
            embedder=load_embedder(embedder, cache=cache_folder() if cache else None),
            fit_on=[*texts[:LEARNT_FROM], *old_texts[:LEARNT_FROM]] if embedder == "tfidf" else (),
            taken=() if space is None else space.names,
            seed=seed,
        )
    new = [one for one in candidates if one.is_new(alpha)]
    ids = [now[at].record_id for at in places]
    rows = [{"id": ids[at], "text": texts[places[at]], "candidate": one.name} for one in new for at in one.rows]
    said = [found.text(), "", *_told(len(places), count, new, known=any(map(str.strip, texts)))]
    if new:
        update = shlex.quote(named) if named else "SPACE"
        follow = f"--update {update} --model MODEL --out updated.yaml"
        said.append(f"Next: labelspace discover {shlex.quote(str(out / 'new.jsonl'))} {follow}")
    data: dict[str, Any] = {
        **found.to_data(),
        "new_labels": {
            "texts": len(places),
            "clusters": count,
            "clusters_with_enough_texts": [_plain(one, ids, new=one in new) for one in candidates],
        },
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.json").write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", "utf-8")
        (out / "report.txt").write_text("\n".join(said) + "\n", "utf-8")
    except OSError as error:
        raise DataError(f"can't be written: {error.strerror}", path=str(out), advice="name another folder") from error
    write_rows(out / "new.jsonl", rows)
    if sampled:
        drawn = _draw(now, texts, sampled, seed)
        write_rows(out / CHECK, drawn)
        label = (
            f"labelspace label {shlex.quote(str(out / CHECK))} --space {shlex.quote(named or 'SPACE')} --model MODEL"
        )
        said.append(f"{len(drawn):,} rows drawn for spot checks; a person labels them, or: {label} --out checks.jsonl")
    click.echo("\n".join(said))
    note(f"Written to {out}")
    return DRIFT_FOUND if fail_on_drift and found.drift else 0


def _read(path: str, space: Any) -> tuple[list[Prediction], list[str]]:
    """Predictions of a file and their texts, "" where it has none."""
    from labelspace.data import read_predictions, read_records

    given = list(read_predictions(path, space=space))
    return given, [record.text for record in read_records(path, needs_text=False)]


def _draw(now: Sequence[Prediction], texts: Sequence[str], count: int, seed: int) -> list[dict[str, Any]]:
    """Rows to be labelled by others, each as likely as any other, so that agreement on them is that on all."""
    import numpy as np

    with_text = [at for at, text in enumerate(texts) if text.strip()]
    order = np.random.default_rng(seed).permutation(len(with_text))[:count]
    return [{"id": now[with_text[at]].record_id, "text": texts[with_text[at]]} for at in sorted(order.tolist())]


def _strange(
    now: Sequence[Prediction], before: Sequence[Prediction], other: str | None, share: float
) -> tuple[list[int], list[int]]:
    """Places of rows that fit nowhere, or whose answers are less sure than all but a share of the reference's."""
    from labelspace.finetune.open_set import OpenSet
    from labelspace.metrics.fates import confidence_of, fate

    fates = [[fate(one, other) for one in side] for side in (now, before)]
    found = [{at for at, became in enumerate(side) if became == "nowhere"} for side in fates]
    doubts: list[dict[int, float]] = [{}, {}]
    for side, predictions in enumerate((now, before)):
        for at, one in enumerate(predictions):
            if fates[side][at] == "answered" and (sure := confidence_of(one)) is not None:
                doubts[side][at] = 1 - sure
    if share and doubts[1]:
        known = OpenSet().calibrate(list(doubts[1].values()))
        for side, doubt in enumerate(doubts):
            refused = known.refuse(list(doubt.values()), wrongly=share)
            found[side].update(at for at, strange in zip(doubt, refused, strict=True) if strange)
    return sorted(found[0]), sorted(found[1])


def _told(texts: int, count: int, new: Sequence[Candidate], *, known: bool) -> list[str]:
    from labelspace.metrics.render import one_line

    if not known:
        return ["New labels: not looked for, as the predictions have no column of texts"]
    lines = [f"New labels: {len(new)} proposed, of {count} clusters; {texts:,} rows fit nowhere or are unsure"]
    for one in new:
        p = "" if one.p is None else f", p {one.p:.2g}"
        lines.append(f"  {one_line(one.name)}: {len(one.rows):,} texts, {one.before:,} in the reference{p}")
        lines += [f"    {one_line(example)}" for example in one.examples]
    return lines


def _plain(one: Candidate, ids: Sequence[str], *, new: bool) -> dict[str, Any]:
    return {
        "name": one.name,
        "description": one.description,
        "proposed": new,
        "texts": len(one.rows),
        "before": one.before,
        "p": one.p,
        "examples": list(one.examples),
        "ids": [ids[at] for at in one.rows],
    }
