"""Progress of long work on stderr: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

SECONDS_BETWEEN_LINES = 5.0


def note(text: str) -> None:
    """Print one plain line on stderr, where it can't mix with data on stdout."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """Counts what is done of one piece of work.

    Nothing is shown for work that ends within a second, so short steps stay quiet.
    """

    def __init__(self, title: str, *, total: int | None = None, unit: str = "rows", shown: bool = True) -> None:
        """Start counting.

        Args:
            title: What is being done, such as "embedding".
            total: How many units there are; None where that is not known.
            unit: Name of what is counted, in the plural.
            shown: Whether to print anything at all.
        """
        self.title, self.total, self.unit, self.shown = title, total, unit, shown
        self.done = 0
        self.remark = ""
        self._started = self._printed = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        """Start: returns itself."""
        if self.shown and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=self.total, desc=self.title, unit=f" {self.unit}", delay=1.0, file=sys.stderr)
        return self

    def advance(self, count: int = 1, *, remark: str | None = None) -> None:
        """Count `count` more units as done; `remark` is shown behind the figures."""
        self.done += count
        if remark is not None:
            self.remark = remark
        if self._bar is not None:
            if remark is not None:
                self._bar.set_postfix_str(remark, refresh=False)
            self._bar.update(count)
        elif self.shown and time.monotonic() - self._printed >= SECONDS_BETWEEN_LINES:
            self._printed = time.monotonic()
            note(self._line())

    def _line(self) -> str:
        elapsed = time.monotonic() - self._started
        rate = self.done / elapsed if elapsed > 0 else 0.0
        of = "" if self.total is None else f" of {self.total:,}"
        left = "" if not self.total or not rate else f", {max(self.total - self.done, 0) / rate:,.0f} s left"
        return f"{self.title}: {self.done:,}{of} {self.unit}, {rate:,.0f}/s{left}" + (
            f" ({self.remark})" if self.remark else ""
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End: closes the bar, or prints the last line where lines were printed."""
        if self._bar is not None:
            self._bar.close()
        elif self.shown and self._printed > self._started:
            note(self._line())
