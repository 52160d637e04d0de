"""The page: self-contained, every image opens, and a browser shows them all, wide and narrow."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from bayesmeta.lecture.page import Built, page
from bayesmeta.lecture.section import Number, Section

_CHECK = """<script>window.onload = () => {
  const images = [...document.images];
  const broken = images.filter(i => !i.complete || i.naturalWidth === 0);
  const wide = document.documentElement.scrollWidth > window.innerWidth;
  document.title = `${images.length} images, ${broken.length} broken, ${wide ? "wide" : "fits"}`;
};</script>"""


class _Reader(HTMLParser):
    """Tags that are open, images, and addresses outside the page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)
        for name, value in attrs:
            if name == "src":
                self.images.append(value or "")
            if name in ("src", "href") and not re.match(r"data:|#", value or ""):
                self.outside.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def example() -> str:
    figure = Figure(figsize=(5.0, 3.0))
    figure.add_subplot().plot([0, 1], [1, 0])
    section = Section(
        "A claim & its proof",
        r"Of $ p(\theta) \prod_{i} p(\phi_{i} \mid \theta) $ one says <nothing>.",
        numbers=[Number("one < two", 1.25, 0.01, 1.26), Number("exact", 2.0)],
        figures={"a_line": figure, "the same": figure},
        code=[example],
    )
    return page("A title", "First.\n\nSecond.", [Built("claim", section, 3.2)])


def check(text: str, images: int | None = None) -> None:
    """Tags are closed, nothing is loaded from outside, and every picture opens."""
    reader = _Reader()
    reader.feed(text)
    assert not reader.open and not reader.outside
    assert images is None or len(reader.images) == images
    for source in reader.images:
        kind, _, content = source.partition(";base64,")
        data = base64.b64decode(content)
        if kind == "data:image/png":
            assert imread(io.BytesIO(data)).std() > 0.01
        else:
            assert kind == "data:image/svg+xml" and b"</svg>" in data


def test_a_page_is_whole_and_needs_nothing_else() -> None:
    text = example()
    check(text, images=3)
    for words in ("A claim &amp; its proof", "one &lt; two", "&lt;nothing&gt;", "<td>1.2500</td>"):
        assert words in text
    assert "<td>exact</td>" in text and "def example" in text and "$" not in text.split("<pre>")[0]


def test_what_is_broken_is_found() -> None:
    with pytest.raises(AssertionError):
        check(example().replace('src="data:image/png', 'src="figure.png" data="'))
    with pytest.raises(AssertionError):
        check(example().replace("</section>", "</div>"))


def in_browser(text: str, folder: Path, width: int) -> str:
    """What the page's own script says of its images and its width."""
    file = folder / "page.html"
    file.write_text(text.replace("</body>", f"{_CHECK}</body>"))
    browser = shutil.which("chromium") or shutil.which("google-chrome") or ""
    flags = ("headless", "no-sandbox", "disable-gpu", "disable-background-networking")
    command = [browser, *(f"--{flag}" for flag in flags), f"--user-data-dir={folder / 'profile'}"]
    command += [f"--window-size={width},800", "--virtual-time-budget=5000", "--dump-dom"]
    shown = subprocess.run([*command, file.as_uri()], capture_output=True, text=True, check=True)
    return re.findall("<title>(.*?)</title>", shown.stdout)[0]


needs_browser = pytest.mark.skipif(
    not (shutil.which("chromium") or shutil.which("google-chrome")), reason="needs a browser"
)


@needs_browser
@pytest.mark.parametrize("width", [1200, 500])
def test_a_browser_shows_every_figure(tmp_path: Path, width: int) -> None:
    assert in_browser(example(), tmp_path, width) == "3 images, 0 broken, fits"


@needs_browser
def test_a_browser_finds_a_broken_figure(tmp_path: Path) -> None:
    broken = example().replace("data:image/png;base64,", "data:image/png;base64,x", 1)
    assert "1 broken" in in_browser(broken, tmp_path, 1200)


@pytest.mark.slow
def test_the_whole_page_is_built(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "bayesmeta.lecture", str(tmp_path), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    check(text)
    pictures = list(tmp_path.glob("*.png"))
    assert len(pictures) == text.count("<figure") and all(p.stat().st_size > 2000 for p in pictures)
    if shutil.which("chromium"):
        assert re.fullmatch(r"\d+ images, 0 broken, fits", in_browser(text, tmp_path, 500))
