"""Write labeling instructions with a language model, and find out whether they are worth using."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from labelspace.agents.labeling.form import closed_object
from labelspace.agents.labeling.instruct_groups import Group
from labelspace.agents.labeling.instructions import Borderline, Evidence, Guidance
from labelspace.agents.labeling.names import JSON_TOKENS
from labelspace.agents.replies import match_label, read_object
from labelspace.errors import ModelError
from labelspace.llm import Engine, Reply, ReplyError, Request
from labelspace.metrics import paired_bootstrap
from labelspace.prompts import load_prompt
from labelspace.records import Prediction, Record
from labelspace.space import LabelSpace

_LONGEST = 400
"""Characters of any one thing that is said of a label."""
_QUOTED = 6
"""Words in a row that a borderline example and a labelled one may not share: it is to be invented."""
_SURE = 0.05
"""The p-value under which a gain is believed."""


def instruction_requests(
    space: LabelSpace, groups: Sequence[Group], *, use_case: str = "", prompts: str | Path | None = None
) -> list[Request]:
    """What is asked about each group."""
    prompt = load_prompt("label_instruct", folder=prompts).bind(use_case=use_case, several=space.multi_label)
    requests = []
    for group in groups:
        table = [
            {"name": name, "description": space[name].description, "examples": group.examples[name]}
            for name in group.names
        ]
        others = [name for name in space.leaves if name not in group.names]
        near = [{"text": text, "answer": answer} for text, answer in group.near]
        messages = prompt.render(labels=table, others=others, near=near)
        requests.append(Request(messages, schema=_schema(), max_tokens=JSON_TOKENS))
    return requests


async def write_instructions(
    engine: Engine,
    space: LabelSpace,
    groups: Sequence[Group],
    *,
    use_case: str = "",
    prompts: str | Path | None = None,
) -> tuple[dict[str, Guidance], dict[str, Any]]:
    """Ask for the instructions of each group.

    Returns:
        Guidance by label, and what made it.

    Raises:
        ModelError: A group got no usable reply.
    """
    prompt = load_prompt("label_instruct", folder=prompts)
    asked = list(zip(groups, instruction_requests(space, groups, use_case=use_case, prompts=prompts), strict=True))
    found: dict[str, Guidance] = {}
    outcomes = engine.map(
        asked,
        lambda item: item[1],
        lambda reply, item: read(reply, item[0], space),
        purpose="instruct",
        version=prompt.hash,
    )
    async for outcome in outcomes:
        if outcome.value is None:
            names = ", ".join(outcome.item[0].names)
            raise ModelError(f"{engine.model.name}: no instructions for {names}: {outcome.reason}")
        found.update(outcome.value)
    return found, {"model": engine.model.name, **prompt.provenance, "space": space.version}


def _schema() -> dict[str, Any]:
    text, texts = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    line = closed_object({"text": text, "label": text, "why": text})
    entry = {"label": text, "definition": text, "belongs": texts, "excludes": texts}
    item = closed_object({**entry, "borderline": {"type": "array", "items": line}})
    return closed_object({"labels": {"type": "array", "items": item}})


def read(reply: Reply, group: Group, space: LabelSpace) -> dict[str, Guidance]:
    """Read the instructions of a group.

    Raises:
        ReplyError: A label is missing, said twice or not asked for, something is too long, or an example is no
            invention.
    """
    given = read_object(reply.text, ("labels",))["labels"]
    if not isinstance(given, list) or not all(isinstance(one, dict) and "label" in one for one in given):
        raise ReplyError('"labels" must be a list of objects, each with its "label".')
    names = (*space.leaves, *([space.other] if space.other else []))
    examples = _runs(
        [*(text for texts in group.examples.values() for text in texts), *(text for text, _ in group.near)]
    )
    found: dict[str, Guidance] = {}
    for one in given:
        name = match_label(str(one["label"]), group.names)
        if name in found:
            raise ReplyError(f'There are two entries for "{name}"; give one.')
        try:
            guidance = Guidance.model_validate({key: value for key, value in one.items() if key != "label"})
        except ValidationError as error:
            first = error.errors()[0]
            raise ReplyError(f'"{name}": {".".join(map(str, first["loc"]))}: {first["msg"]}.') from error
        if not guidance.definition.strip():
            raise ReplyError(f'"{name}" has no definition.')
        said = [guidance.definition, *guidance.belongs, *guidance.excludes]
        said += [part for line in guidance.borderline for part in (line.text, line.why)]
        if too_long := [part for part in said if len(part) > _LONGEST]:
            raise ReplyError(f'"{name}": too long, write at most 30 words: {too_long[0][:100]!r}...')
        if copied := [part for part in said if _runs([part]) & examples]:
            raise ReplyError(f'"{name}": {copied[0][:100]!r} repeats an example; invent another.')
        lines = tuple(
            Borderline(text=x.text, label=match_label(x.label, names), why=x.why) for x in guidance.borderline
        )
        found[name] = guidance.model_copy(update={"borderline": lines})
    if lacking := [name for name in group.names if name not in found]:
        raise ReplyError(f"There is no entry for: {'; '.join(lacking)}. Give one for each label.")
    return found


def _runs(texts: Iterable[str]) -> set[tuple[str, ...]]:
    """All runs of so many words in texts; a shorter text is a run itself if it has four words or more."""
    found: set[tuple[str, ...]] = set()
    for text in texts:
        words = re.findall(r"\w+", text.casefold())
        found.update(tuple(words[at : at + _QUOTED]) for at in range(max(len(words) - _QUOTED + 1, 0)))
        if 4 <= len(words) < _QUOTED:
            found.add(tuple(words))
    return found


def compare(
    space: LabelSpace,
    put: LabelSpace,
    dev: Sequence[Record],
    label: Callable[[LabelSpace, list[Record]], Iterable[Prediction]],
    *,
    seed: int = 0,
) -> tuple[Evidence, bool]:
    """Label held-out records without and with instructions.

    Args:
        space: The space without.
        put: The space with.
        dev: Records with gold labels that the instructions were not written from.
        label: Labels records by a space.
        seed: Of the bootstrap.

    Returns:
        What was found, and whether it shows an improvement: a gain with a p-value under 0.05.
    """
    bare = [replace(record, labels=None) for record in dev]
    answers = [[one.labels if one.status == "ok" else None for one in label(which, bare)] for which in (put, space)]
    measure = "micro_f1" if space.multi_label else "accuracy"
    gold = [record.labels or () for record in dev]
    found = paired_bootstrap(gold, *answers, measure=measure, resamples=2000, seed=seed)
    evidence = Evidence(
        texts=len(dev),
        measure=measure,
        without=round(found.second, 6),
        with_instructions=round(found.first, 6),
        low=round(found.low, 6),
        high=round(found.high, 6),
        p_value=round(found.p_value, 6),
    )
    return evidence, found.value > 0 and found.p_value < _SURE
