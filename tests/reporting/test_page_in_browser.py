"""Chromium draws the page: its charts and images, without a request, without an error, light or dark, on any width."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.reporting.parts import add_parts, write

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
POLICY = re.compile(r'(?<=<meta http-equiv="Content-Security-Policy" content=")[^"]*')
RECORD = """<script>
const seen = {blocked: [], errors: []};
document.addEventListener("securitypolicyviolation", event => seen.blocked.push(event.blockedURI));
addEventListener("error", event => seen.errors.push(String(event.message || event.target.outerHTML)), true);
addEventListener("load", () => {
  const number = (list, test) => [...list].filter(test).length;
  seen.images = document.images.length;
  seen.drawn_images = number(document.images, each => each.complete && each.naturalWidth > 0);
  const charts = document.querySelectorAll("figure svg");
  seen.charts = charts.length;
  seen.drawn_charts = number(charts, each => number(each.querySelectorAll("path"), path => path.getTotalLength() > 0)
    && each.getBoundingClientRect().height > 100);
  seen.fetched = performance.getEntriesByType("resource").map(each => each.name);
  seen.overflow = document.documentElement.scrollWidth - innerWidth;
  seen.paper = getComputedStyle(document.body).backgroundColor;
  document.body.dataset.seen = JSON.stringify(seen);
});
</script>"""


@pytest.fixture
def page(finished: None) -> str:
    add_parts()
    return write()[0]


def _open(page: str, width: int, *options: str) -> dict[str, Any]:
    """What Chromium saw of the page; its policy allows the script that records it, and no more."""
    if BROWSER is None:
        pytest.skip("no chromium on this machine: install it to test the page in a browser")
    assert POLICY.search(page)
    page = POLICY.sub(lambda policy: f"{policy[0]}; script-src 'unsafe-inline'", page)
    Path("opened.html").write_text(page.replace("<title>", f"{RECORD}<title>", 1), encoding="utf-8")
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += [f"--user-data-dir={Path('profile').resolve()}", f"--window-size={width},1000", *options]
    command += ["--enable-logging=stderr", "--dump-dom", Path("opened.html").resolve().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(found[1])) | {"console": console}


def test_charts_and_images_are_drawn_and_nothing_is_fetched(page: str) -> None:
    seen = _open(page, 1440)
    assert seen["drawn_images"] == seen["images"] > 0
    assert seen["drawn_charts"] == seen["charts"] == page.count("<figure")
    assert seen["charts"] > 5
    assert [seen[name] for name in ("fetched", "blocked", "errors", "console")] == [[], [], [], []]


def test_the_page_fits_the_window_and_follows_the_color_scheme(page: str) -> None:
    light = _open(page, 1440)
    dark = _open(page, 500, "--blink-settings=preferredColorScheme=0")
    assert light["overflow"] <= 0 and dark["overflow"] <= 0
    assert light["paper"] != dark["paper"]
