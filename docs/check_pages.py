"""Pages of the built site in headless Chromium: python docs/check_pages.py docs/_build/html

On a wide and on a narrow screen no page may scroll sideways, show markup of a formula or of
reStructuredText, or write an error to the console. Chromium is spoken to over its debugging pipe.
`--pictures folder` keeps what the pages look like, `--only` takes some of them.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from check_links import pages_of

WIDTHS = (1280, 390)
# Markup that a reader should not see, and elements that are wider than the screen.
LOOK = r"""(() => {
  const body = document.querySelector("article") || document.body;
  const copy = body.cloneNode(true);
  copy.querySelectorAll("pre, code, script, style").forEach(e => e.remove());
  const text = copy.textContent;
  const markup = text.match(/\\\(|\$\$|\\frac|\\sum|:(doc|ref|math|class|func):`|\]\(\w+\.md/);
  const width = document.documentElement.clientWidth;
  return {
    scroll: document.documentElement.scrollWidth - width,
    markup: markup ? markup[0] : "",
    images: [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src),
  };
})()"""


class Browser:
    """Chromium, by messages that end with a zero byte."""

    def __init__(self, write: int, read: int) -> None:
        self.write, self.read, self.number, self.rest = write, read, 0, b""
        self.session: str | None = None
        self.errors: list[str] = []
        self.loaded = False

    def message(self) -> dict[str, Any]:
        """The next one; errors of the console are kept."""
        while b"\0" not in self.rest:
            part = os.read(self.read, 1 << 20)
            if not part:
                raise RuntimeError("Chromium has ended")
            self.rest += part
        head, _, self.rest = self.rest.partition(b"\0")
        said = json.loads(head)
        method, params = said.get("method"), said.get("params", {})
        if method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(params["exceptionDetails"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.errors.append(str(params["args"][0].get("value", "console.error")))
        elif method == "Page.loadEventFired":
            self.loaded = True
        return said

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """What a command answers."""
        self.number += 1
        asked = {"id": self.number, "method": method, "params": params}
        if self.session is not None:
            asked["sessionId"] = self.session
        os.write(self.write, json.dumps(asked).encode() + b"\0")
        while (said := self.message()).get("id") != self.number:
            pass
        if "error" in said:
            raise RuntimeError(f"{method}: {said['error']['message']}")
        return said["result"]

    def start(self) -> None:
        """A page, with what is told of it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def open(self, address: str, width: int) -> dict[str, Any]:
        """What is seen of a page on a screen so wide."""
        narrow = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=844,
            deviceScaleFactor=1,
            mobile=narrow,
        )
        self.errors, self.loaded = [], False
        self.call("Page.navigate", url=address)
        while not self.loaded:
            self.message()
        return self.call("Runtime.evaluate", expression=LOOK, returnByValue=True)["result"]["value"]

    def picture(self) -> bytes:
        """The top of the page as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])


@contextmanager
def chromium(program: str) -> Iterator[Browser]:
    """A browser that ends with the block."""
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        # Chromium reads file descriptor 3 and writes 4.
        options = "--headless=new --no-sandbox --disable-gpu --remote-debugging-pipe --no-first-run"
        shell = f'exec "$0" {options} --user-data-dir="$1" 3<&{to_read} 4>&{from_write} 2>/dev/null'
        process = subprocess.Popen(
            ["bash", "-c", shell, program, folder], pass_fds=(to_read, from_write)
        )
        os.close(to_read)
        os.close(from_write)
        try:
            browser = Browser(to_write, from_read)
            browser.start()
            yield browser
        finally:
            process.terminate()
            process.wait()


def problems(browser: Browser, address: str, width: int) -> list[str]:
    """Sentences on a page."""
    seen = browser.open(address, width)
    found = [f"console: {error}" for error in browser.errors]
    found += [f"scrolls sideways by {seen['scroll']} pixels"] * (seen["scroll"] > 0)
    found += [f"shows markup: {seen['markup']}"] * bool(seen["markup"])
    return found + [f"image is not shown: {source}" for source in seen["images"]]


def main() -> None:
    """Open all pages, say what is wrong, and fail if anything is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=Path)
    parser.add_argument("--pictures", type=Path, help="a folder for what the pages look like")
    parser.add_argument("--only", nargs="*", help="names of pages, without .html")
    args = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        print("Chromium is not installed: pages were not opened (Debian: apt install chromium)")
        return
    site, count = args.site.resolve(), 0
    pages = [path for path in pages_of(site) if path.name != "sg_execution_times.html"]
    with chromium(program) as browser:
        for page in pages:
            name = page.relative_to(site).with_suffix("").as_posix()
            for width in WIDTHS if not args.only or name in args.only else ():
                for problem in problems(browser, page.as_uri(), width):
                    print(f"{name}, {width} wide: {problem}")
                    count += 1
                if args.pictures is not None:
                    args.pictures.mkdir(parents=True, exist_ok=True)
                    path = args.pictures / f"{name.replace('/', '_')}_{width}.png"
                    path.write_bytes(browser.picture())
    print(f"{len(pages)} pages, {count} problems")
    sys.exit(bool(count))


if __name__ == "__main__":
    main()
