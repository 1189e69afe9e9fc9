"""`labelspace prompts`: see what is sent to a model, and how your own wording differs from ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from labelspace.cli.options import prompts_option
from labelspace.errors import PromptError


@click.group(
    epilog="""\b
Example:
  labelspace prompts render label --example"""
)
def command() -> None:
    """List, show, render and compare prompt templates.

    A template is a file NAME.jinja. To use wording of your own, copy one of ours into a folder,
    change it, and give the folder to any command with --prompts.
    """


@command.command(
    "list",
    epilog="""\b
Example:
  labelspace prompts list""",
)
@prompts_option
def list_(prompts: Path | None) -> None:
    """List all templates: name, version, hash, purpose; a star marks those from DIR."""
    from labelspace.prompts import list_prompts
    from labelspace.prompts.loader import HERE

    found = list_prompts(folder=prompts)
    width = max(len(prompt.name) for prompt in found)
    for prompt in found:
        star = " " if prompt.path.parent == HERE else "*"
        click.echo(f"{star} {prompt.name:{width}}  v{prompt.version}  {prompt.hash}  {prompt.head.purpose}")


@command.command(
    epilog="""\b
Example:
  labelspace prompts show label"""
)
@click.argument("name")
@prompts_option
def show(name: str, prompts: Path | None) -> None:
    """Print the file of a template as it is, to read it or to start your own from it."""
    from labelspace.prompts import load_prompt

    click.echo(load_prompt(name, folder=prompts).source, nl=False)


@command.command(
    epilog="""\b
Examples:
  labelspace prompts render label --example
  labelspace prompts render label --example --var document="Where is my parcel?"
  labelspace prompts render taxonomy_review --example --var max_labels:=5"""
)
@click.argument("name")
@click.option(
    "--var",
    "given",
    multiple=True,
    metavar="K=V",
    help="Value of a variable: k=text, k=@file, k:=JSON or k:=@file.json; give it once for each.",
)
@click.option("--example", is_flag=True, help="Take what is not given from the template's own example.")
@prompts_option
def render(name: str, given: tuple[str, ...], example: bool, prompts: Path | None) -> None:
    """Print the messages that a model is sent, each below a line with its role."""
    from labelspace.prompts import load_prompt

    prompt = load_prompt(name, folder=prompts)
    values = dict(prompt.head.example) if example else {}
    values.update(_value(text) for text in given)
    for message in prompt.render(**values):
        click.echo(f"--- {message['role']}")
        click.echo(message["content"])


@command.command(
    epilog="""\b
Example:
  mkdir -p wording && labelspace prompts show label > wording/label.jinja
  labelspace prompts diff label wording"""
)
@click.argument("name")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
def diff(name: str, folder: Path) -> None:
    """Show how the template in DIR differs from ours, as a unified diff."""
    from difflib import unified_diff

    from labelspace.prompts import load_prompt

    ours, theirs = load_prompt(name), load_prompt(name, folder=folder)
    if theirs.path == ours.path:
        raise PromptError(f"{folder}: has no {name}.jinja; make one with `labelspace prompts show {name}`")
    lines = unified_diff(
        ours.source.splitlines(), theirs.source.splitlines(), f"ours/{name}.jinja", str(theirs.path), lineterm=""
    )
    changed = False
    for line in lines:
        changed = True
        click.echo(line)
    if not changed:
        click.echo("no difference", err=True)


def _value(text: str) -> tuple[str, Any]:
    """Read one --var: `k=text`, `k=@file`, `k:=JSON`, `k:=@file`."""
    import json

    key, sign, value = text.partition("=")
    if not sign or not key.rstrip(":"):
        raise click.UsageError(f"--var takes k=text, k=@file, k:=JSON or k:=@file, not {text!r}")
    is_json = key.endswith(":")
    key = key.removesuffix(":")
    if value.startswith("@"):
        try:
            value = Path(value[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PromptError(f"the value of {key!r} can't be read from {value[1:]}: {error}") from error
    if not is_json:
        return key, value
    try:
        return key, json.loads(value)
    except json.JSONDecodeError as error:
        raise PromptError(f"the value of {key!r} is not JSON: {error}") from error
