"""Links and images of the built site: python docs/check_links.py docs/_build/html"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Page(HTMLParser):
    """What a page links to, and what can be linked to in it."""

    links: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep addresses and ids."""
        for name, value in attrs:
            if value and name in ("href", "src"):
                self.links.append(value)
            elif value and (name == "id" or (tag == "a" and name == "name")):
                self.names.add(value)


def read(path: Path) -> Page:
    """A page of the site."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def pages_of(site: Path) -> list[Path]:
    """The pages of a site; what the theme brings in _static are templates."""
    return sorted(path for path in site.rglob("*.html") if "_static" not in path.parts)


def broken(site: Path) -> list[str]:
    """Sentences on links within the site that lead nowhere, and on a page that nothing links to."""
    site = site.resolve()
    pages = {path.resolve(): read(path) for path in pages_of(site)}
    found, linked = [], {site / "index.html"}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            linked.add(target)
            if not target.exists():
                found.append(f"{path.relative_to(site)}: {link} is not there")
            elif parts.fragment and unquote(parts.fragment) not in names_of(pages.get(target)):
                found.append(f"{path.relative_to(site)}: {link} has no such place")
    alone = sorted(path.relative_to(site).as_posix() for path in pages if path not in linked)
    return found + [f"{name}: no page links to it" for name in alone if name not in _OF_SPHINX]


def names_of(page: Page | None) -> set[str]:
    """What can be linked to in a page."""
    return page.names if page is not None else set()


# Pages that Sphinx makes and the theme does not link to.
_OF_SPHINX = {"search.html", "genindex.html", "py-modindex.html", "sg_execution_times.html"} | {
    f"generated/{folder}/sg_execution_times.html" for folder in ("gallery", "examples")
}


def main() -> None:
    """Say what is broken, and fail if anything is."""
    site = Path(sys.argv[1])
    found = broken(site)
    print(*found, f"{len(pages_of(site))} pages, {len(found)} broken links", sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
