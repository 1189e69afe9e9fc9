"""docs/training.md: its code runs and does what is said of it, and it names what there is."""

from __future__ import annotations

import re
from pathlib import Path

from labelspace.finetune.head_settings import shipped_settings
from labelspace.finetune.tuned_store import KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def test_the_code_does_what_is_said_of_it() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    made: dict[str, object] = {}
    exec(code, made)
    assert 0.82 < float(made["covered"]) < 0.98  # type: ignore[arg-type]
    assert 0 < sum(made["refused"]) < 0.15 * len(made["refused"])  # type: ignore[arg-type, call-overload]
    right = [path[-1] == record.label for path, record in zip(made["paths"], made["new"], strict=True)]  # type: ignore[call-overload]
    assert sum(right) > 0.3 * len(right)


def test_every_head_and_every_settings_file_is_named() -> None:
    for name in (*KINDS, *shipped_settings(), "linear", "mlp", "lightgbm", "knn"):
        assert f"`{name}`" in PAGE
