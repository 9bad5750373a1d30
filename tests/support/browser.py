"""Headless Chromium that opens files, without a network, and records what a page does."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

_NAMES = ("chromium-headless-shell", "chromium", "google-chrome")
EXECUTABLE = next(filter(None, map(shutil.which, _NAMES)), None)
_EMPTY = "\xa0"
"""The text of an empty cell, by Tabulator."""
_MARK = "AIOMSI_BROWSER_MARK"
_FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)


@attrs.define(eq=False)
class Opened:
    """A page, with all that it did.

    Attributes:
        page: playwright's page.
        requests: the URLs of its requests, without the one for the file.
        complaints: errors and warnings of the console, and exceptions of scripts.

    """

    page: Any
    requests: list[str] = attrs.field(factory=list)
    complaints: list[str] = attrs.field(factory=list)

    def wait(self, expression: str, seconds: float = 60) -> Any:
        """Evaluate an expression until its value is true, and return that.

        A function that waits within the page is not allowed by its Content-Security-Policy.
        """
        for _ in range(int(seconds / 0.02)):
            if found := self.page.evaluate(expression):
                return found
            self.page.wait_for_timeout(20)
        msg = f"{expression} stayed false; the console has {self.complaints}"
        raise AssertionError(msg)

    def wait_for_count(self, text: str) -> None:
        """Wait until the page shows this number of rows."""
        self.wait(f"document.getElementById('count').textContent === {text!r}")

    def cells(self, column: str) -> list[str]:
        """Return the texts of a column in the rows that are drawn."""
        selector = f'.tabulator-row .tabulator-cell[tabulator-field="{column}"]'
        found: list[str] = self.page.locator(selector).all_text_contents()
        return ["" if text == _EMPTY else text for text in found]


@contextmanager
def start_browser() -> Iterator[Any]:
    """Run a browser; raise an AssertionError if one of its processes is left."""
    from playwright.sync_api import sync_playwright

    mark = secrets.token_hex(8)
    with sync_playwright() as driver:
        # As root, Chromium has no sandbox.
        flags = [*_FLAGS, "--no-sandbox"] if os.geteuid() == 0 else [*_FLAGS]
        browser = driver.chromium.launch(
            executable_path=EXECUTABLE, args=flags, env={**os.environ, _MARK: mark}
        )
        try:
            assert find_processes(mark), "the mark of the browser's processes is lost"
            yield browser
        finally:
            browser.close()
    assert find_processes(mark) == []


@contextmanager
def open_file(
    browser: Any, path: Path, script: str | None = None, **options: Any
) -> Iterator[Opened]:
    """Open a file in a context without a network, after a script that is not the page's."""
    context = browser.new_context(offline=True, **options)
    try:
        if script is not None:
            context.add_init_script(script)
        opened = Opened(context.new_page())
        page, url = opened.page, path.resolve().as_uri()
        page.on("request", lambda request: opened.requests.append(request.url))
        page.on("console", lambda message: opened.complaints.append(message.text))
        page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        page.goto(url)
        assert opened.requests.pop(0) == url
        yield opened
    finally:
        context.close()


def find_processes(mark: str) -> list[str]:
    """Return the running processes of a browser, zombies left out."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue
        if f"{_MARK}={mark}".encode() in environment.split(b"\0"):
            found.append(command.decode(errors="replace"))
    return found
