"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def data_options(command: Command) -> Command:
    """Add the options that name the columns of a file of records."""
    for name, what in (("id", "ids"), ("label", "labels"), ("text", "texts")):
        command = click.option(
            f"--{name}-column",
            metavar="NAME",
            help=f"Column that holds the {what}; guessed from common names if not given.",
        )(command)
    return command


embedder_option = click.option(
    "--embedder",
    default="tfidf",
    show_default=True,
    metavar="SPEC",
    help="tfidf; a sentence-transformers model by name or folder, in ONNX Runtime with onnx: before it; or "
    "http://host/v1#model for an embeddings server.",
)

cache_option = click.option(
    "--cache/--no-cache", default=True, show_default=True, help="Keep embeddings on disk, by content and model."
)

seed_option = click.option("--seed", default=0, show_default=True, help="Seed of everything random.")

prompts_option = click.option(
    "--prompts",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of templates that replace ours by name.",
)

model_option = click.option(
    "--model",
    default="none",
    show_default=True,
    metavar="MODEL",
    help="none; http://host/v1#name for any OpenAI-compatible server; or provider:name through LangChain.",
)
