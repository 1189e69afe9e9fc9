"""The page at /docs, in a real browser."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed"),
]


def test_a_browser_shows_what_there_is(server: Any, tmp_path: Path) -> None:
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    command += ["--virtual-time-budget=5000", "--dump-dom", f"{server.address}/docs"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "POST /classify" in done.stdout and "GET /labelspace" in done.stdout
    assert "Classify a text, or texts." in done.stdout
