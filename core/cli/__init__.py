"""The command line: `labelspace VERB ...`. Each verb lives in a module of its own, imported when it is called."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click

VERBS = {
    "run": "Discover, label, train and evaluate as one resumable run folder.",
    "discover": "Make a label space from texts.",
    "label": "Give each record a label of a space.",
    "instruct": "Write labeling instructions from labelled records, and test whether they help.",
    "calibrate": "Make confidences honest on a labelled sample, and set aside what is unsure.",
    "train": "Train a classifier on labelled records.",
    "predict": "Apply a trained classifier.",
    "cascade": "Let a head answer where it is sure, and ask an LLM or a person where not.",
    "export": "Write a trained classifier in a form that servers take.",
    "serve": "Put a classifier on a port.",
    "monitor": "Compare predictions with earlier ones: drift, agreement with spot checks, labels that are missing.",
    "migrate": "Carry labels over to a changed space; only what the change affects is labelled again.",
    "judge": "Judge labels without gold ones: coverage, accuracy, relevance, by a model that people check.",
    "evaluate": "Compare predictions with gold labels.",
    "audit": "Find labels that are probably wrong, estimate how many there are, and repair them.",
    "tools": "Retrieve the right few tools out of many: import, train, search, evaluate, serve.",
    "prompts": "List, show, render and compare prompt templates.",
}
"""Verb to what it does; the verb's command is `command` in the module of its name here."""

EPILOG = """\b
`labelspace VERB --help` tells more and ends in an example that runs.
Data goes to files or stdout; progress and remarks go to stderr.
Exit codes: 0 complete, 1 failed, 2 wrong input or option, 3 partial (run the same command to go on).

\b
Example:
  labelspace run pipeline"""


class _Verbs(click.Group):
    """Loads a verb's module only when that verb is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = import_module(f"labelspace.cli.{cmd_name}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"labelspace.cli.{cmd_name}.command is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


def _print_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from labelspace import __version__

        click.echo(f"labelspace {__version__}")
        ctx.exit()


@click.group(cls=_Verbs, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
def cli(debug: bool) -> None:
    """From a pile of text to a label space, labels you can trust, and a classifier you can serve."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a user's error becomes one line on stderr and an exit code."""
    from labelspace.errors import LabelspaceError

    given = sys.argv[1:] if arguments is None else arguments
    try:
        outcome = cli.main(args=given, prog_name="labelspace", standalone_mode=False)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "labelspace"
        click.echo(f"{where}: {error.format_message()} (see: {where} --help)", err=True)
        sys.exit(2)
    except click.ClickException as error:
        click.echo(f"labelspace: {error.format_message()}", err=True)
        sys.exit(2)
    except LabelspaceError as error:
        if "--debug" in given:
            raise
        click.echo(f"labelspace: {error}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("labelspace: stopped; what is done is kept", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our stdout has gone (`labelspace ... | head`): that is not an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(outcome if isinstance(outcome, int) else 0)
