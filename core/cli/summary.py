"""The last lines of a command that labels records, and its exit code."""

from __future__ import annotations

from collections.abc import Mapping

from labelspace.errors import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL
from labelspace.progress import note


def say_what_was_made(out: str, counts: Mapping[str, int]) -> int:
    """Print how many rows were labelled, set aside and failed, and where they are; return the exit code."""
    where = "standard output" if out == "-" else out
    parts = [f"{counts['ok']:,} of {counts['rows']:,} records labelled"]
    if counts["abstained"]:
        parts.append(f"{counts['abstained']:,} set aside")
    if counts["failed"]:
        parts.append(f"{counts['failed']:,} failed")
    note(f"{', '.join(parts)}; written to {where}")
    if not counts["failed"]:
        return EXIT_OK
    return EXIT_PARTIAL if counts["ok"] else EXIT_FAILED
