"""From log-probabilities of a reply to a distribution over what it could choose from."""

from __future__ import annotations

import math
from collections.abc import Sequence

from labelspace.llm.request import Reply

_AROUND = " \t\n\r\"'`ĠĊ▁"
"""What tokenizers and JSON put around a choice: blanks, quotes, and the visible stand-ins for blanks."""


def choice_distribution(reply: Reply, choices: Sequence[str]) -> dict[str, float] | None:
    """Probability of each choice, which sum to 1; None where the reply carries nothing to tell it from.

    Exact where the model scored every choice. Otherwise read from the first token: the probability of
    a choice is that of all tokens that say it, among those that say any choice. For this each choice
    must be one token, so give the labels short codes (`A`, `B`, ... or `1`, `2`, ...).
    A choice that is not among the reported tokens has a probability of 0: it had less than the last.

    Args:
        reply: A reply to a request with `choices` and `logprobs`.
        choices: The same choices.
    """
    if reply.choice_logprobs is not None:
        found = {choice: reply.choice_logprobs[choice] for choice in choices if choice in reply.choice_logprobs}
        return _normalised(found, choices)
    if not reply.logprobs:
        return None
    first = next((token for token in reply.logprobs if token.token.strip(_AROUND)), None)
    if first is None:
        return None
    wanted = set(choices)
    found = {}
    for token, logprob in first.top or ((first.token, first.logprob),):
        choice = token.strip(_AROUND)
        if choice in wanted:
            found[choice] = _add(found[choice], logprob) if choice in found else logprob
    return _normalised(found, choices) if found else None


def _normalised(logprobs: dict[str, float], choices: Sequence[str]) -> dict[str, float]:
    highest = max(logprobs.values())
    weights = {choice: math.exp(logprob - highest) for choice, logprob in logprobs.items()}
    total = sum(weights.values())
    return {choice: weights.get(choice, 0.0) / total for choice in choices}


def _add(one: float, other: float) -> float:
    """log(exp(one) + exp(other))."""
    high, low = max(one, other), min(one, other)
    return high + math.log1p(math.exp(low - high))
