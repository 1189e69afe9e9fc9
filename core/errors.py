"""Errors that a user can act on: each says what was wrong, what was given, and what to do.

LabelspaceError
├── ConfigError          a config file, an override or an option
├── DataError            a file of records: path, row, what is wrong with it
├── SpaceError           a label space, or a label that a space does not know
├── PromptError          a template, its front matter or its variables
├── ModelError           an LLM endpoint that can't be used as asked (bad key, unknown model)
│   └── BudgetExceeded   the budget is spent; what is done is kept
├── JournalError         the run's journal can't be opened, read or written
└── MissingExtra         an optional dependency is not installed

The command line prints one as a single line on stderr and exits with `exit_code`.
"""

from __future__ import annotations

EXIT_OK = 0
"""Everything asked for was done."""
EXIT_FAILED = 1
"""Nothing useful was done: the run stopped early, or every row failed."""
EXIT_USAGE = 2
"""The input, an option or a config is wrong; nothing was started."""
EXIT_PARTIAL = 3
"""The run ended with some rows failed; what is done is kept, and the same command goes on."""


class LabelspaceError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code = EXIT_USAGE


class ConfigError(LabelspaceError):
    """A config, an override or an option is not usable."""


class DataError(LabelspaceError):
    """A file of records is not usable; the message names file and row."""

    def __init__(self, problem: str, *, path: str | None = None, row: int | None = None, advice: str = "") -> None:
        """Compose one line.

        Args:
            problem: What is wrong.
            path: The file, as the user named it.
            row: The row it was found in, counted from 1 as an editor counts lines.
            advice: What to do about it.
        """
        where = "" if path is None else f"{path}, row {row}: " if row is not None else f"{path}: "
        super().__init__(f"{where}{problem}" + (f"; {advice}" if advice else ""))
        self.path = path
        self.row = row


class SpaceError(LabelspaceError):
    """A label space is not well formed, or does not know a label."""


class PromptError(LabelspaceError):
    """A prompt template is missing, malformed or lacks a variable."""


class ModelError(LabelspaceError):
    """A language model can't be used as asked."""

    exit_code = EXIT_FAILED


class BudgetExceeded(ModelError):
    """The budget is spent. What is done is in the journal, and the same command goes on from there."""

    exit_code = EXIT_PARTIAL


class JournalError(LabelspaceError):
    """The journal of a run can't be opened, read or written."""

    exit_code = EXIT_FAILED


class MissingExtra(LabelspaceError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        """Name the package that is missing and the extra that brings it."""
        super().__init__(f"{package} is not installed; run: pip install 'labelspace[{extra}]'")
