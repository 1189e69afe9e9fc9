"""Write docs/cli.md from the command line's own help: python docs/make_cli.py [--check]."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from labelspace.cli import cli

TARGET = Path(__file__).with_name("cli.md")


def sections(command: click.Command, path: str, parent: click.Context | None = None) -> list[str]:
    """Help of a command and of every command below it."""
    context = click.Context(command, info_name=path.rsplit(" ", 1)[-1], parent=parent, terminal_width=100)
    found = [f"## `{path}`\n\n```text\n{command.get_help(context).rstrip()}\n```\n"]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                found += sections(below, f"{path} {name}", context)
    return found


def page() -> str:
    """The whole page."""
    head = "# The command line\n\nMade from `--help` by `make docs`.\n"
    return "\n".join([head, *sections(cli, "labelspace")])


if __name__ == "__main__":
    if "--check" not in sys.argv:
        TARGET.write_text(page(), encoding="utf-8")
    elif TARGET.read_text(encoding="utf-8") != page():
        sys.exit("docs/cli.md is stale; run: make docs")
