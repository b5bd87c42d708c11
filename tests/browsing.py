"""Chromium with the network cut, over the built book: fixtures of the browser tests.

It comes from the system: CHROMIUM names another.
"""

import functools
import http.server
import os
import shutil
import threading
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import sync_playwright

from helpers.config import ROOT

HTML = ROOT / "_build" / "html"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, NAMES)), MAC if Path(MAC).exists() else None
)
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: set CHROMIUM"),
]


def page_names() -> list[str]:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    parts = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    return [toc["root"], *parts]


PAGES = page_names()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing: the tests report what went wrong."""


@pytest.fixture(scope="module")
def addresses():
    """Where the book lies: one address a scheme."""
    assert (HTML / "index.html").exists(), "no built book; run make book first"
    handler = functools.partial(Quiet, directory=str(HTML))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    port = server.server_address[1]
    yield {"http": f"http://127.0.0.1:{port}", "file": HTML.as_uri()}
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    """One Chromium for all tests; what it resolves leads nowhere."""
    arguments = [
        "--no-sandbox",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*arguments, "--disable-gpu"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def context(browser, addresses):
    """A window whose requests to anywhere but the book are cut off and noted."""
    window = browser.new_context(viewport={"width": 1440, "height": 900})
    window.set_default_timeout(60_000)
    inside = (*addresses.values(), "data:", "blob:", "about:")
    window.outside = []

    def watch(route):
        if route.request.url.startswith(inside):
            route.continue_()
        else:
            window.outside.append(route.request.url)
            route.abort()

    window.route("**/*", watch)
    yield window
    window.close()
