"""Reading a model's reply strictly: what it plainly says is taken, what could be two things is not."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from labelspace.llm import Reply, ReplyError

NONE = frozenset({"none", "null", "n/a", "na", "no label", "none of these", "none of the above", "none fits"})
"""Answers, folded, that say that no label fits."""
_SHOWN = 40
_TYPO = 0.9
"""The least similarity at which a misspelt name is still taken for a label's."""
_THOUGHTS = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_DECORATION = "\"'`*_“”‘’«»„.,;: \t\r\n-–—()[]{}"
_LEAD = re.compile(r"^(?:the )?(?:best |correct |final )*(?:label|answer|category|choice)s?(?: is)?\s*[:=]?\s+", re.I)


def without_thoughts(text: str) -> str:
    """The reply without the thinking that some models send along."""
    text = _THOUGHTS.sub("", text)
    # A server that cuts the opening mark off leaves the closing one.
    return text.rpartition("</think>")[2].strip()


def read_object(
    text: str, needed: Sequence[str], *, pairs: Callable[[list[tuple[str, Any]]], dict[str, Any]] = dict
) -> dict[str, Any]:
    """The JSON object in a reply, also where a code fence or a sentence stands around it.

    Args:
        text: The reply.
        needed: Keys that it must have.
        pairs: Makes an object of its entries, where a key that comes twice matters.

    Raises:
        ReplyError: There is none, it is not valid JSON, or a key is missing.
    """
    text = without_thoughts(text)
    decoder = json.JSONDecoder(object_pairs_hook=pairs)
    problem, start = "", text.find("{")
    for _ in range(50):
        if start < 0:
            break
        end = start + 1
        try:
            value, end = decoder.raw_decode(text, start)
            lacking = [key for key in needed if key not in value]
            if not lacking:
                return dict(value)
            problem = problem or f"the JSON object lacks {', '.join(map(json.dumps, lacking))}"
        except json.JSONDecodeError as error:
            problem = problem or f"the JSON is not valid: {error.msg} at character {error.pos}"
        except RecursionError:
            problem = problem or "the JSON is nested too deeply"
        start = text.find("{", end)
    shape = "{" + ", ".join(f'"{key}": ...' for key in needed) + "}"
    raise ReplyError(
        f"The reply can't be used: {problem or 'there is no JSON object in it'}. "
        f"Answer with one JSON object {shape} and nothing else."
    )


def fold(text: str) -> str:
    """A name without what models change: case, quotes and marks around it, underscores, runs of blanks."""
    return re.sub(r"[-_\s]+", " ", text.strip(_DECORATION).casefold())


@lru_cache(maxsize=64)
def _folded(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        found[fold(name)] = (*found.get(fold(name), ()), name)
    return found


def match_label(answer: str, names: tuple[str, ...]) -> str:
    """The label that an answer names.

    Case, quotes and blanks don't matter, nor does a phrase such as "The label is" before the name or
    the description after it; one misspelt name is taken where no other is near.

    Raises:
        ReplyError: It names none, or could mean two.
    """
    if answer in names:
        return answer
    folded = _folded(names)
    lines = answer.strip().splitlines() or [""]
    for line in (answer, lines[0], lines[-1]):
        for form in (fold(line), fold(_LEAD.sub("", line.strip(_DECORATION)))):
            if form in folded:
                return _only(answer, folded[form])
    said = fold(answer)
    if found := _at_an_end(said, folded):
        return _only(answer, tuple(name for form in found for name in folded[form]))
    near = get_close_matches(said, folded, n=2, cutoff=_TYPO)
    # Labels that differ in a number ("level 1", "level 2") are near each other, but no misspellings.
    near = [form for form in near if re.findall(r"\d+", form) == re.findall(r"\d+", said)]
    if near:
        return _only(answer, tuple(name for form in near for name in folded[form]))
    raise ReplyError(_not_one_of(answer, names))


def _at_an_end(said: str, folded: Mapping[str, object]) -> list[str]:
    """The longest name that begins the answer ("refund: the customer wants ...") or ends it, and all others in it."""
    for pattern in (r"^{}[\"'`*]*\s?[:;,.(–—]", r"(?:[:=]|\b(?:is|as))[\s\"'`*]*{}$"):
        found = [form for form in folded if form and re.search(pattern.format(re.escape(form)), said)]
        if found:
            best = max(found, key=len)
            rest = said.replace(best, " ")
            return [best, *(form for form in folded if form and re.search(rf"\b{re.escape(form)}\b", rest))]
    return []


def _only(answer: str, names: tuple[str, ...]) -> str:
    if len(names) == 1:
        return names[0]
    raise ReplyError(
        f"{_short(answer)} could mean {' or '.join(map(json.dumps, names))}. Answer with exactly one of them."
    )


def _not_one_of(answer: str, names: tuple[str, ...]) -> str:
    """Say that the answer is no label; of very many labels only the nearest are listed."""
    listed = list(names)
    if len(names) > _SHOWN:
        listed = get_close_matches(answer, names, n=_SHOWN, cutoff=0.0)
    lead = "one of" if len(listed) == len(names) else "a label from the list, such as"
    return f"{_short(answer)} is not a label. Answer with exactly {lead}: " + "; ".join(listed)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return json.dumps(text if len(text) <= 100 else text[:100] + "...", ensure_ascii=False)


# -- probabilities ---------------------------------------------------------------------------------


def read_share(given: Any) -> float:
    """A number of percent as a probability.

    Raises:
        ReplyError: It is none.
    """
    number = given.strip().removesuffix("%") if isinstance(given, str) else given
    try:
        value = float(number)
    except (TypeError, ValueError):
        value = -1.0
    if isinstance(given, bool) or not 0 <= value <= 100:
        raise ReplyError(f'"confidence" must be a whole number from 0 to 100, not {given!r:.50}.')
    return value / 100


def probability_of(reply: Reply, answer: str, *, quoted: bool = False) -> float | None:
    """Probability that the model gave to the tokens of its answer, where the server reports it.

    Args:
        reply: The reply.
        answer: What was read from it, as it stands in the reply.
        quoted: Whether it stands there as a JSON string; the last one that equals it counts.
    """
    if not reply.logprobs:
        return None
    text = "".join([token.token for token in reply.logprobs])
    if text == answer and not quoted:
        return math.exp(min(sum([token.logprob for token in reply.logprobs]), 0.0))
    if quoted:
        start = max(text.rfind(json.dumps(answer, ensure_ascii=False)), text.rfind(json.dumps(answer)))
        start += 1 if start >= 0 else 0
    else:
        found = re.search(re.escape(answer), text, re.IGNORECASE)
        start = found.start() if found else -1
    if start < 0:
        return None
    end, at, total = start + len(answer), 0, 0.0
    for token in reply.logprobs:
        if at < end and at + len(token.token) > start:
            total += token.logprob
        at += len(token.token)
    return math.exp(min(total, 0.0))


def choice_scores(logprobs: Mapping[str, float], keep: int = 10) -> dict[str, float]:
    """Probabilities from the log-probability of every choice: they add up to 1 over all, the best are kept."""
    highest = max(logprobs.values())
    weights = {name: math.exp(value - highest) for name, value in logprobs.items()}
    total = sum(weights.values())
    best = sorted(weights, key=lambda name: -weights[name])[:keep]
    return {name: weights[name] / total for name in best}
