"""Languages are guessed from scripts and little words, well enough to say what a data set is made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import labelspace
from labelspace.agents.audit.languages import guess_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Where is my parcel?", "en"),
        ("Wo ist mein Paket, bitte?", "de"),
        ("Où est mon colis ?", "fr"),
        ("¿Dónde está el paquete?", "es"),
        ("荷物はどこですか", "ja"),
        ("我的包裹在哪里", "zh"),
        ("Где моя посылка", "Cyrillic"),
        ("HG-53120 12:30", "und"),
        ("123 !", "und"),
    ],
)
def test_languages(text: str, language: str) -> None:
    assert guess_language(text) == language


def test_the_sample_is_guessed_right_almost_everywhere() -> None:
    folder = Path(labelspace.__file__).parent / "sample"
    texts, truth = (
        [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]
        for name in ("support.jsonl", "support.truth.jsonl")
    )
    languages = {row["id"]: row["language"] for row in truth}
    right = [guess_language(row["text"]) == languages[row["id"]] for row in texts]
    assert sum(right) / len(right) > 0.96
