"""Scores of a stage are kept: a later call does not train it again, unless it learns or asks for something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from labelspace.agents.tools import Tool, ToolSet, Usage
from labelspace.agents.tools.bm25 import BM25
from labelspace.recipes._tools_rows import Kept, Texts

TOOLS = ToolSet([Tool("weather", "Forecast of rain."), Tool("mail", "Send mail.")])
ASKED = [Usage("will it rain today and send Ann a mail", ("weather", "mail")), Usage("send mail", ("mail",))]


def test_scores_outlive_the_stage(tmp_path: Path) -> None:
    made: list[str] = []

    def make() -> BM25:
        made.append("once")
        return BM25(TOOLS)

    texts = Texts.of([ASKED], tmp_path, [], "settings")
    assert texts.texts == (*[usage.query for usage in ASKED], "will it rain today", "send Ann a mail")
    queries = [usage.query for usage in reversed(ASKED)]
    first = Kept(TOOLS.space, "by words, 1", make, texts).scores(queries)
    again = Kept(TOOLS.space, "by words, 1", make, Texts.of([ASKED], tmp_path, [], "settings")).scores(queries)
    np.testing.assert_array_equal(first, BM25(TOOLS).scores(queries))
    np.testing.assert_array_equal(again, first)
    assert made == ["once"]
    Kept(TOOLS.space, "by words, 1", make, Texts.of([ASKED], tmp_path, ASKED, "settings")).scores(queries)
    assert made == ["once", "once"], "what learns from something else is trained again"


def test_a_text_that_was_not_foreseen_is_scored_too(tmp_path: Path) -> None:
    kept = Kept(TOOLS.space, "bm25", lambda: BM25(TOOLS), Texts.of([ASKED], tmp_path, [], ""))
    np.testing.assert_array_equal(kept.scores(["rain"]), BM25(TOOLS).scores(["rain"]))
    assert kept.scores([]).shape == (0, 2)
