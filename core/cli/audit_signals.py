"""What an audit goes by: the options for each signal, and what they bring."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from labelspace.cli.audit_inputs import classify, read_pairs, read_scores
from labelspace.cli.options import cache_option, embedder_option, prompts_option
from labelspace.errors import ConfigError, DataError
from labelspace.progress import note

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from labelspace.agents.audit.annotators import Annotations
    from labelspace.agents.audit.folds import Head
    from labelspace.agents.audit.run import Ask
    from labelspace.records import Record
    from labelspace.space import LabelSpace

Command = TypeVar("Command", bound=Callable[..., Any])
WORDINGS = ("right", "wrong", "agree", "change")


@dataclass(frozen=True)
class Signals:
    """Options of what needs no LLM."""

    scores: str | None
    classifier: str | None
    cross_validate: bool
    head: str
    base: str | None
    settings: str | None
    overrides: tuple[str, ...]
    embedder: str
    cache: bool
    folds: int
    neighbours: bool
    annotations: str | None
    annotators: tuple[str, ...]

    def make_head(self, space: LabelSpace, *, seed: int) -> Callable[[], Head] | None:
        """What is cross-validated, if anything is."""
        if self.scores and self.classifier:
            raise ConfigError("--scores and --classifier are two ways to say the same; give one")
        if self.scores or self.classifier or not self.cross_validate:
            return None
        if self.head != "linear":
            from labelspace.cli.train_tuned import Head as Tuned

            tuned = Tuned(self.head, self.base or "", self.settings, self.overrides, seed)
            return lambda: tuned.make({}, multi_label=space.multi_label)
        from labelspace.embed import cache_folder, load_embedder
        from labelspace.finetune.linear import LinearHead

        folder = cache_folder() if self.cache else None
        return lambda: LinearHead(
            load_embedder(self.embedder, cache=folder), multi_label=space.multi_label, C=5.0, calibrate=False, seed=seed
        )

    def load_scores(self, records: Sequence[Record], space: LabelSpace) -> NDArray[np.floating[Any]] | None:
        """Scores from a file or from a trained classifier."""
        if self.scores:
            return read_scores(self.scores)
        if self.classifier:
            note("scores of a model that has seen these records flag too little; is it trained on other data?")
            return classify(self.classifier, records, space.leaves, cached=self.cache)
        return None

    def read_annotations(self, records: Sequence[Record]) -> Annotations:
        """Who said what of each record: from a column of DATA, from columns of one person each, from files."""
        found: dict[str, list[tuple[str, str]]] = {}
        for record in records:
            if self.annotations is not None:
                found.setdefault(record.id, []).extend(read_pairs(record, self.annotations))
        for given in self.annotators:
            name, equals, path = given.partition("=")
            column = {record.id: record.metadata.get(name) for record in records}
            if equals:
                from labelspace.data import read_predictions

                column = {one.record_id: one.label for one in read_predictions(path)}
            elif not any(column.values()):
                raise DataError(f"no record has anything in the column {name!r}", advice="NAME=FILE names predictions")
            for record in records:
                if (label := column.get(record.id)) not in (None, ""):
                    found.setdefault(record.id, []).append((name, str(label)))
        return {record_id: pairs for record_id, pairs in found.items() if pairs}


@dataclass(frozen=True)
class Judges:
    """Options of the LLM judges."""

    models: tuple[str, ...]
    wordings: tuple[str, ...]
    top: int | None
    use_case: str
    prompts: Path | None

    def ask(self, space: LabelSpace, out: Path, *, tolerance: int | None) -> Ask | None:
        """Asks the judges, once it is known how suspicious each record is; None without a model."""
        if not self.models:
            return None

        def ask(records: Sequence[Record], suspicion: NDArray[np.float64]) -> dict[str, dict[str, float]]:
            from labelspace.agents.audit.disagreement import by_confidence
            from labelspace.agents.audit.judges import judge_records

            chosen = (-suspicion).argsort(kind="stable")[: self.top]
            out.mkdir(parents=True, exist_ok=True)
            said = judge_records(
                [records[at] for at in sorted(chosen.tolist())],
                space,
                self.models,
                wordings=self.wordings or WORDINGS,
                tolerance=tolerance,
                use_case=self.use_case,
                prompts=self.prompts,
                journal=out / "journal.sqlite",
                engine={"progress": True},
            )
            if missing := len(chosen) - len(said.by_id()):
                note(f"the judges gave no answer that can be read for {missing:,} of {len(chosen):,} records")
            bins = [part.model_dump(exclude_none=True) for part in by_confidence(said.mean)]
            data = {"judges": list(said.judges), "disagreement_by_confidence": bins}
            (out / "judges.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
            return {"judges": said.by_id()}

        return ask


def _gathered(options: Sequence[Callable[[Any], Any]], name: str, kind: type[Any]) -> Callable[[Command], Command]:
    """Add options to a command, which gets them all as one value of `kind`."""

    def decorate(command: Command) -> Command:
        @wraps(command)
        def inner(**given: Any) -> Any:
            own = {field.name: given.pop(field.name) for field in fields(kind)}
            return command(**given, **{name: kind(**own)})

        for option in reversed(options):
            inner = option(inner)
        return inner  # type: ignore[return-value]

    return decorate


signal_options = _gathered(
    (
        click.option(
            "--scores",
            type=click.Path(exists=True, dir_okay=False),
            metavar="FILE.npy",
            help="Out-of-sample probabilities, one row a record, one column a leaf of the space.",
        ),
        click.option("--classifier", metavar="MODEL_DIR", help="Trained on other data: scores the records instead."),
        click.option(
            "--cross-validate/--no-cross-validate",
            default=True,
            show_default=True,
            help="Score the records by cross-validation, if neither is given.",
        ),
        click.option(
            "--head",
            type=click.Choice(["linear", "ls", "ptec"]),
            default="linear",
            show_default=True,
            help="What is cross-validated: as for `labelspace train`.",
        ),
        click.option("--base", metavar="MODEL", help="Folder or Hub name of the language model, for ls and ptec."),
        click.option("--settings", metavar="FILE", help="YAML file with settings of the head, for ls and ptec."),
        click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="One setting; may be given again."),
        embedder_option,
        cache_option,
        click.option(
            "--folds", type=click.IntRange(min=2), default=5, show_default=True, help="Of the cross-validation."
        ),
        click.option(
            "--neighbours/--no-neighbours", default=True, show_default=True, help="Ask the nearest texts too."
        ),
        click.option(
            "--annotations",
            metavar="COLUMN",
            help="Column with what several people or models said: a list of {worker, label}, or {worker: label}.",
        ),
        click.option(
            "--annotator",
            "annotators",
            multiple=True,
            metavar="COLUMN|NAME=FILE",
            help="One of several annotators: a column of DATA, or a file of predictions; may be given again.",
        ),
    ),
    "signals",
    Signals,
)

judge_options = _gathered(
    (
        click.option(
            "--model",
            "models",
            multiple=True,
            metavar="MODEL",
            help="An LLM that judges the labels: http://host/v1#name or provider:name; may be given again.",
        ),
        click.option(
            "--wording",
            "wordings",
            multiple=True,
            type=click.Choice(WORDINGS),
            help="How the LLMs are asked; may be given again.  [default: in all of these ways]",
        ),
        click.option(
            "--judge-top",
            "top",
            type=click.IntRange(min=1),
            metavar="N",
            help="Ask the LLMs about the most suspicious only.",
        ),
        click.option("--use-case", default="", metavar="TEXT", help="What the labels are for; the LLMs read it."),
        prompts_option,
    ),
    "judges",
    Judges,
)
