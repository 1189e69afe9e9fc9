"""Options of `labelspace label` that say how a model is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--use-case", default="", metavar="TEXT", help="What the labels are for, in a sentence; a model reads it."
    ),
    click.option("--rationale", is_flag=True, help="Have the model give its reason before the label."),
    click.option(
        "--one-token", is_flag=True, help="Give each label a short code: the reply is one token, with a distribution."
    ),
    click.option(
        "--confidence",
        type=click.Choice(["auto", "logprobs", "verbal", "sampled"]),
        default="auto",
        show_default=True,
        help="From log-probabilities, from a number the model gives, or from a vote of samples.",
    ),
    click.option(
        "--samples", type=click.IntRange(min=2), metavar="N", help="Ask so many times at a temperature, and average."
    ),
    click.option(
        "--permutations",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        metavar="N",
        help="Ask under so many orders of the labels, and average.",
    ),
    click.option(
        "--descend",
        is_flag=True,
        help="Go down the tree of labels, a request a level; --batch-documents and --candidates are those of a level.",
    ),
    click.option(
        "--candidates",
        type=click.IntRange(min=1),
        metavar="K",
        help="For large spaces: show each text only the K likeliest labels (by --embedder, and --examples).",
    ),
    click.option("--examples", metavar="FILE", help="Labelled records: some are shown, all help to find candidates."),
    click.option(
        "--shots", type=click.IntRange(min=0), default=8, show_default=True, metavar="N", help="Examples shown."
    ),
    click.option(
        "--shots-by",
        type=click.Choice(["nearest", "diverse", "balanced", "many"]),
        default="nearest",
        show_default=True,
        help="Most like the text, far apart, from each label in turn, or from each as many as --context has room for.",
    ),
    click.option(
        "--context",
        type=click.IntRange(min=1),
        default=8_000,
        show_default=True,
        metavar="TOKENS",
        help="With --shots-by many: what examples may take.",
    ),
    click.option(
        "--instructions",
        metavar="FILE",
        help="What belongs to each label and what does not, as labelspace instruct wrote it.",
    ),
    click.option(
        "--batch-documents",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        metavar="N",
        help="Documents in one request; what can't be used of its answers is asked again singly.",
    ),
)


def asking_options(command: Command) -> Command:
    """Add them, in this order."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
