"""The recipes of serving, small: they run, compare answers, and fail where they should."""

from __future__ import annotations

import pytest

from labelspace.recipes.serve_abuse import ServeAbuseConfig
from labelspace.recipes.serve_abuse import main as abuse
from labelspace.recipes.serve_speed import ServeSpeedConfig
from labelspace.recipes.serve_speed import main as speed

pytestmark = pytest.mark.slow


def test_abuse() -> None:
    found = abuse(ServeAbuseConfig(requests=150, at_once=15, good=2))
    assert sum(found["bad"].values()) == 150 and set(found["bad"]) <= {
        "200",
        "400",
        "404",
        "408",
        "413",
        "left",
        "closed",
    }
    assert found["right"] > 0 and found["wrong"] == found["lost"] == 0


def test_speed(capsys: pytest.CaptureFixture[str]) -> None:
    found = speed(ServeSpeedConfig(requests=60, concurrency=16, rounds=1))
    assert set(found) == {"plain", "labelspace"} and min(found.values()) > 0
    assert "times what the plain endpoint does" in capsys.readouterr().out
