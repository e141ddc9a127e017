"""The links of the pages, as they were built: each leads to a page that is there, and to a place that is in it.

Sphinx sees to those that it makes itself.  This sees the others too: what is written as HTML, images, and what stands
in the diagrams.  Links to elsewhere are not followed, for that needs a network (`make links`); but they are https.
"""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from sphinx.util import logging

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

logger = logging.getLogger(__name__)

_TAG = re.compile(r"<[a-zA-Z][^<>]*>")
_ATTRIBUTE = re.compile(r"""\s(id|name|href|src|xlink:href)="([^"]*)\"""")


class Page:
    """What a page links to, and what can be linked to in it.  Sphinx writes quotes outside of tags as entities."""

    def __init__(self, html: str) -> None:
        self.links: list[str] = []
        self.places: set[str] = set()
        for tag in _TAG.findall(html):
            for name, value in _ATTRIBUTE.findall(tag):
                if name == "id" or (name == "name" and tag.startswith("<a ")):
                    self.places.add(unescape(value))
                elif name != "name":
                    self.links.append(unescape(value))


class Site:
    """The pages as they were built."""

    def __init__(self) -> None:
        self._pages: dict[Path, Page] = {}

    def page(self, path: Path) -> Page:
        if path not in self._pages:
            self._pages[path] = Page(path.read_text(encoding="utf-8"))
        return self._pages[path]

    def wrong(self, page: Path) -> Iterator[str]:
        """A sentence for each link of a page that leads nowhere."""
        for link in dict.fromkeys(self.page(page).links):
            objection = self.objection(page, link)
            if objection:
                yield f"{link} {objection}"

    def objection(self, page: Path, link: str) -> str | None:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            return None if parts.scheme in ("https", "data") else "is neither https nor a page of ours"
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if not target.is_file():
            return "leads to no file"
        if parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in self.page(target).places:
            return "leads to no place in that page"
        return None


def check(app: Sphinx, error: Exception | None) -> None:
    """Those of the pages of now: the folder may have others, of before."""
    if error is None and app.builder.name == "html":
        site = Site()
        for name in sorted(app.env.found_docs):
            for sentence in site.wrong((Path(app.outdir) / app.builder.get_target_uri(name)).resolve()):
                logger.warning(sentence, location=name, type="links")


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("build-finished", check, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
