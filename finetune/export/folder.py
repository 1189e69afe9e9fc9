"""A folder that appears whole or not at all."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from labelspace.errors import DataError

Result = TypeVar("Result")


def written_whole(out: Path, mark: str, write: Callable[[Path], Result]) -> Result:
    """Write into a folder beside the target, and give it the target's name when all went well.

    Args:
        out: The target; one that is there is replaced if it holds `mark`, or nothing.
        mark: Name of a file that each such folder holds.
        write: Fills the folder, whose own name is that of the target.

    Raises:
        DataError: The target is something else, or can't be written.
    """
    out = out.resolve()
    if out.exists() and not (out.is_dir() and ((out / mark).exists() or not any(out.iterdir()))):
        raise DataError("is there already and is no export", path=str(out), advice="name another folder")
    beside = out.with_name(f".{out.name}.{secrets.token_hex(4)}.part")
    made = beside / out.name
    try:
        made.mkdir(parents=True)
        result = write(made)
        if out.exists():
            out.rename(beside / "old")
        made.rename(out)
    except OSError as error:
        if (beside / "old").exists() and not out.exists():
            (beside / "old").rename(out)
        raise DataError(f"can't be written: {error.strerror or error}", path=str(out)) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return result
