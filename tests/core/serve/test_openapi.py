"""Requests made from the server's own OpenAPI description, valid and not: no answer is a 500, all are as described."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest

schemathesis = pytest.importorskip("schemathesis")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_whatever_is_sent_gets_an_answer_that_is_described(server: Any) -> None:
    schema = schemathesis.openapi.from_url(f"{server.address}/openapi.json")
    tried: set[str] = set()

    for operation in schema.get_all_operations():

        @hypothesis.given(case=operation.ok().as_strategy())
        @hypothesis.settings(max_examples=60, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
        def run(case: Any) -> None:
            tried.add(case.operation.label)
            case.call_and_validate()

        run()
    assert tried >= {"POST /classify", "GET /labelspace", "GET /health", "GET /v1/models"}
