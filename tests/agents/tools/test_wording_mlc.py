"""MLC by words: ridge regression in closed form, words that add up."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from labelspace.agents.tools import Tool, ToolSet, Usage
from labelspace.agents.tools.wording_mlc import WordingMLC, fit_ridge

TOOLS = ToolSet([Tool("weather", "Forecast."), Tool("mail", "Send mail."), Tool("table", "Book a table.")])
USAGES = [
    Usage("will it rain in Rome", ("weather",)),
    Usage("is there rain tomorrow", ("weather",)),
    Usage("write to Ann", ("mail",)),
    Usage("write Bob a note", ("mail",)),
    Usage("book somewhere to eat", ("table",)),
]


def test_conjugate_gradients_find_what_the_closed_form_says() -> None:
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(12, 5)).astype(np.float32)
    wanted = (draw.random((12, 3)) < 0.4).astype(np.float32)
    closed = np.linalg.solve(vectors @ vectors.T + 0.5 * np.eye(12), wanted)
    np.testing.assert_allclose(fit_ridge(csr_matrix(vectors), wanted, penalty=0.5, steps=30), closed, atol=1e-3)


def test_words_of_a_request_for_two_things_find_both() -> None:
    found = WordingMLC.of(TOOLS, USAGES).search(["will it rain tomorrow, and write to Ann", "book somewhere"], 2)
    assert {name for name, _ in found[0]} == {"weather", "mail"}
    assert found[1][0][0] == "table"
