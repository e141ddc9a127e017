"""The search for links that lead nowhere, which every build of the documentation makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("sphinx")

from docs._ext.links import Page, Site

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "index.html").write_text('<h1 id="top">a</h1> <a name="old">b</a> <a href="in/page.html">c</a>')
    (tmp_path / "in" / "page.html").write_text('<p id="&#233;">a</p>')
    (tmp_path / "image.svg").write_text("<svg></svg>")
    return tmp_path


@pytest.mark.parametrize(
    "link",
    [
        "#top",
        "#old",
        "in/page.html",
        "in/page.html#%C3%A9",
        "image.svg",
        "image.svg?v=1",
        "https://a.example/b#c",
        "data:image/png;base64,AA==",
    ],
)
def test_links_that_lead_somewhere(link: str, site: Path) -> None:
    assert Site().objection(site / "index.html", link) is None


@pytest.mark.parametrize(
    ("link", "objection"),
    [
        ("in/other.html", "no file"),
        ("page.html", "no file"),
        ("in", "no file"),
        ("#bottom", "no place"),
        ("in/page.html#top", "no place"),
        ("http://a.example/", "https"),
        ("//a.example/", "https"),
        ("javascript:alert(1)", "https"),
    ],
)
def test_links_that_lead_nowhere(link: str, objection: str, site: Path) -> None:
    assert objection in (Site().objection(site / "index.html", link) or "")


def test_each_wrong_link_is_told_once(site: Path) -> None:
    page = site / "in" / "page.html"
    page.write_text('<a href="../index.html#top">a</a> <img src="x.svg"> <a class="b" href="x.svg">b</a>')
    assert list(Site().wrong(page)) == ["x.svg leads to no file"]


def test_what_is_text_is_no_link() -> None:
    page = Page(
        '<p title="a &lt;b&gt;">a href=&quot;x&quot; <code>&lt;a href=&quot;y&quot;&gt;</code></p><input name="q">'
    )
    assert page.links == []
    assert page.places == set()
