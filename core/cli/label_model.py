"""`labelspace label` with a model: the dry run, the run itself, and its run.json."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelspace.cli.summary import say_what_was_made
from labelspace.errors import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL, ConfigError, LabelspaceError
from labelspace.progress import note

if TYPE_CHECKING:
    from labelspace.agents.labeling.ensemble import Ensemble
    from labelspace.agents.labeling.labeler import Labeler
    from labelspace.llm import ChatModel, Request
    from labelspace.records import Record
    from labelspace.space import LabelSpace

INTERRUPTED = 130
STATUS = {EXIT_OK: "complete", EXIT_PARTIAL: "partial", EXIT_FAILED: "failed", INTERRUPTED: "interrupted"}


def labelers(
    space: LabelSpace,
    models: Sequence[str],
    *,
    journal: str | None,
    prompts: Path | None,
    poll: float | None,
    **how: Any,
) -> Labeler | Ensemble:
    """The labeler of a model, or the ensemble of several.

    Args:
        space: The labels.
        models: Model strings.
        journal: Where replies are kept; of further models, beside it.
        prompts: Folder of templates that replace ours.
        poll: Seconds between two looks at the batch API; None asks directly.
        how: Further settings of each `Labeler`.
    """
    from labelspace.agents.labeling.ensemble import Ensemble, own_journal
    from labelspace.agents.labeling.labeler import Labeler

    members = [
        Labeler(
            space,
            model=model if poll is None else batch_model(model, poll=poll),
            journal=own_journal(journal, place),
            prompts=prompts,
            set_aside=True,
            progress=not place,
            **how,
        )
        for place, model in enumerate(models)
    ]
    return members[0] if len(members) == 1 else Ensemble(members)


def show_what_would_be_asked(labeler: Labeler | Ensemble, records: Iterable[Record]) -> int:
    """Print the first request as it would be sent, and what all of them come to; nothing is asked."""
    found = labeler.estimate(records)
    estimates = found if isinstance(found, list) else [found]
    for request in estimates[0].examples[:1]:
        for message in request.messages:
            click.echo(f"--- {message['role']}\n{message['content']}")
        click.echo(f"--- {_form(request)}\n")
    for estimate in estimates:
        for line in estimate.lines():
            click.echo(line)
    click.echo("Dry run: nothing was asked.")
    return EXIT_OK


def _form(request: Request) -> str:
    if request.choices is not None:
        shown = ", ".join(request.choices[:8]) + (", ..." if len(request.choices) > 8 else "")
        return f"the reply is one of {len(request.choices)}: {shown}"
    return f"the reply is JSON of this schema: {json.dumps(request.schema, ensure_ascii=False)}"


def batch_model(model: str, *, poll: float) -> ChatModel:
    """The batch API of a server.

    Raises:
        ConfigError: The model is not on a server.
    """
    from labelspace.llm import connect
    from labelspace.llm.batches import BatchModel
    from labelspace.llm.client import HTTPModel

    direct = connect(model)
    if not isinstance(direct, HTTPModel):
        raise ConfigError(f"only servers have a batch API, not {model!r}; write http://host/v1#name")
    return BatchModel(direct, poll=poll, quiet=min(1.0, poll))


class Run:
    """One run and its run.json, which is there after every end: complete, partial, failed or interrupted."""

    def __init__(self, out: str, journal: str | None, settings: Mapping[str, Any]) -> None:
        """Start the clock.

        Args:
            out: Where labels go.
            journal: Where replies are kept.
            settings: What the run was asked to do, for the run.json.
        """
        self.out, self.journal, self.settings = out, journal, settings
        self.path = None if out == "-" else Path(f"{out}.run.json")
        self.labelled = 0
        self._began, self._started = datetime.now(timezone.utc), time.monotonic()

    def label(self, labeler: Labeler | Ensemble, records: Iterable[Record], *, total: int | None) -> int:
        """Label all records, say what became of them, and return the exit code.

        Raises:
            LabelspaceError: Nothing could be labelled, or the output can't be written.
        """
        from labelspace.data import write_predictions

        def work() -> tuple[Mapping[str, int], Mapping[str, Any], str | None]:
            # The engine shows progress of its own.
            counts = write_predictions(self.out, labeler, records, total=total, shown=False)
            return counts, labeler.account, labeler.stopped

        return self._do(work, lambda: labeler.account)

    def label_with_ray(self, space: LabelSpace, records: Iterable[Record], **how: Any) -> int:
        """Likewise, in Ray actors; see `labelspace.agents.labeling.ray`."""
        from labelspace.agents.labeling.ray import label_with_ray

        def work() -> tuple[Mapping[str, int], Mapping[str, Any], str | None]:
            done = label_with_ray(space, records, self.out, progress=True, **how)
            return done.counts, done.account, done.stopped

        return self._do(work, dict)

    def _do(
        self,
        work: Callable[[], tuple[Mapping[str, int], Mapping[str, Any], str | None]],
        account: Callable[[], Mapping[str, Any]],
    ) -> int:
        try:
            counts, counted, stopped = work()
        except KeyboardInterrupt:
            self._say_how_to_go_on()
            self.save(INTERRUPTED, {}, account())
            return INTERRUPTED
        except LabelspaceError as error:
            self.save(EXIT_FAILED, {}, account(), stopped=str(error))
            raise
        return self.end(counts, counted, stopped=stopped)

    def end(self, counts: Mapping[str, int], account: Mapping[str, Any], *, stopped: str | None) -> int:
        """Say what became of the records, write the run.json and return the exit code."""
        code, self.labelled = say_what_was_made(self.out, counts), counts["ok"]
        if (recall := account.get("candidates")) is not None:
            share = recall["labels_held"] / recall["labels"]
            note(
                f"The candidates have {share:.2%} of the gold labels of the {recall['texts']:,} records that have any."
            )
        if stopped is not None:
            note(f"Stopped early: {stopped}.")
            note("The rows that were not asked about are failed in the output; the same command goes on with them.")
        elif counts["failed"]:
            note("The same command with --retry-failed asks for the failed ones again.")
        self.save(code, counts, account, stopped=stopped)
        return code

    def _say_how_to_go_on(self) -> None:
        if self.journal is None:
            note("Interrupted. Nothing is kept: name a --journal to be able to go on.")
        else:
            note(f"Interrupted. All replies are kept in {self.journal}; the same command goes on from there.")

    def save(
        self, code: int, counts: Mapping[str, int], account: Mapping[str, Any], *, stopped: str | None = None
    ) -> None:
        """Write the run.json, whole or not at all."""
        if self.path is None:
            return
        from labelspace import __version__

        data = {
            "status": STATUS[code],
            "exit_code": code,
            "stopped": stopped,
            "rows": dict(counts),
            "out": self.out,
            "journal": self.journal,
            "started": self._began.isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - self._started, 3),
            "labelspace": __version__,
            "settings": dict(self.settings),
            "engine": dict(account),
        }
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        # Where this can't be written, the labels could not be either, and that has been said.
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(data, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
            temporary.replace(self.path)
