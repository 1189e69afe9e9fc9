"""Measures of rankings, by hand."""

from __future__ import annotations

import math

import pytest

from labelspace.agents.tools import Tool, ToolSet, Usage, evaluate_retriever
from labelspace.agents.tools.bm25 import BM25
from labelspace.agents.tools.measures import complete_at, ndcg_at, recall_at
from labelspace.errors import DataError

TABLE = [
    # ranking, needed, k, recall, ndcg, complete
    ("abc", "a", 1, 1.0, 1.0, 1.0),
    ("abc", "b", 1, 0.0, 0.0, 0.0),
    ("abc", "b", 2, 1.0, 1 / math.log2(3), 1.0),
    ("abc", "ab", 1, 0.5, 1.0, 0.0),
    ("abc", "ac", 3, 1.0, 1.5 / (1 + 1 / math.log2(3)), 1.0),
    ("abc", "ax", 3, 0.5, 1 / (1 + 1 / math.log2(3)), 0.0),
]


@pytest.mark.parametrize(("ranked", "needed", "k", "recall", "ndcg", "complete"), TABLE)
def test_values(ranked: str, needed: str, k: int, recall: float, ndcg: float, complete: float) -> None:
    assert recall_at(ranked, needed, k) == pytest.approx(recall)
    assert ndcg_at(ranked, needed, k) == pytest.approx(ndcg)
    assert complete_at(ranked, needed, k) == complete


def test_a_report_counts_tokens_and_unknown_tools() -> None:
    tools = ToolSet([Tool("red", "red things"), Tool("blue", "blue things")])
    usages = [Usage("red", ("red",)), Usage("blue", ("blue", "gone")), Usage("none", ())]
    report = evaluate_retriever(BM25(tools), usages, tools, ks=(1, 2))
    assert report.queries == 2
    assert report.unknown == 1
    assert dict(report.scores) == {
        "recall@1": 0.75, "recall@2": 0.75, "complete@1": 0.5, "complete@2": 0.5,
        "ndcg@1": 1.0, "ndcg@2": pytest.approx((1 + 1 / (1 + 1 / math.log2(3))) / 2),
    }  # fmt: skip
    assert report.tokens_at[2] == report.tokens == sum(tool.tokens for tool in tools)
    assert report.tokens_at[1] == report.tokens / 2
    assert "saved        50.0%    0.0%" in report.text()
    with pytest.raises(DataError, match="no query needs a tool"):
        evaluate_retriever(BM25(tools), usages[2:], tools)
