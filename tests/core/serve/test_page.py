"""The page at /docs, in a real browser."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
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


ASK = """(async () => {
  const texts = document.getElementById("texts"), reply = document.getElementById("reply");
  texts.value = LINES.join("\\n");
  document.querySelector("button").click();
  while (!reply.textContent) await new Promise(resolve => setTimeout(resolve, 20));
  return {said: reply.textContent, field: getComputedStyle(texts).backgroundColor,
          wide: reply.scrollWidth - reply.clientWidth, title: document.title};
})()"""


async def _evaluate(profile: Path, page: str, script: str) -> Any:
    """What a script returns in a page, in a Chromium that prefers dark pages and is as wide as a telephone."""
    import aiohttp

    told = profile / "DevToolsActivePort"
    until = time.monotonic() + 60
    while not (told.is_file() and "\n" in told.read_text()) and time.monotonic() < until:
        await asyncio.sleep(0.05)
    port = int(told.read_text().split("\n")[0])
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/json") as reply:
            tab = next(tab for tab in await reply.json() if tab["type"] == "page")
        async with session.ws_connect(tab["webSocketDebuggerUrl"]) as socket:

            async def send(number: int, method: str, **parameters: Any) -> Any:
                await socket.send_json({"id": number, "method": method, "params": parameters})
                while (said := json.loads((await socket.receive(60)).data)).get("id") != number:
                    pass
                return said["result"]

            dark = [{"name": "prefers-color-scheme", "value": "dark"}]
            await send(1, "Emulation.setEmulatedMedia", features=dark)
            await send(2, "Emulation.setDeviceMetricsOverride", width=360, height=700, deviceScaleFactor=1, mobile=True)
            await send(3, "Page.navigate", url=page)
            ready = "location.href + document.readyState"
            while (await send(4, "Runtime.evaluate", expression=ready))["result"]["value"] != page + "complete":
                await asyncio.sleep(0.05)
            done = await send(5, "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
            return done["result"]["value"]


def test_answers_to_any_text_can_be_read(server: Any, tmp_path: Path) -> None:
    lines = ["<script>document.title='no'</script>", "\u202eparcel", "parcel" * 100]
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    with subprocess.Popen([*command, "--remote-debugging-port=0", "about:blank"], stderr=subprocess.DEVNULL) as browser:
        try:
            script = ASK.replace("LINES", json.dumps(lines))
            shown = asyncio.run(_evaluate(tmp_path, f"{server.address}/docs", script))
        finally:
            browser.terminate()
    assert shown["said"].split("\n")[::2] == [f"\u2068{line}\u2069" for line in lines]
    assert shown["title"] == "labelspace"
    assert shown["wide"] == 0, "the label and how sure it is stand beside no text that is too long"
    assert shown["field"] != "rgb(255, 255, 255)", "a field is dark where the page is"
