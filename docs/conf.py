"""How the documentation is built: `make docs`."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "adapters"), str(HERE.parent)]

_project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "smtpproto"
author = "The smtpproto authors"
copyright = author  # noqa: A001 -- Sphinx wants it under this name
release = version = _project["version"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "docs._ext.from_code",
    "docs._ext.connecting",
    "docs._ext.reference",
    "docs._ext.diagrams",
    "docs._ext.speed",
    "docs._ext.comparison",
    "docs._ext.links",
]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

# In docstrings a name stands between single backticks, as in Markdown.
default_role = "code"
autodoc_default_options = {"members": True, "undoc-members": True, "show-inheritance": True, "ignore-module-all": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
# Every reference to a public name of ours has to resolve; those of others are not looked up: that needs a network.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!smtpproto).*"),
    ("py:.*", r".*\._\w+"),
    ("py:.*", r".*\.[A-Z](?:_co|_contra)?"),
    ("py:.*", r".*\.[A-Z][a-z]+T"),
]

# `make links`: what is elsewhere, one page at a time for each host, and twice where it was not there.
linkcheck_workers = 2
linkcheck_timeout = 30
linkcheck_retries = 2
linkcheck_rate_limit_timeout = 120
# What redirects to another place is to be mended, but for these, which redirect to where they like.
linkcheck_allowed_redirects = {
    r"https://[a-z0-9-]+\.readthedocs\.io/?": r"https://[a-z0-9-]+\.readthedocs\.io/.*",
    r"https://github\.com/.*/pull/[0-9]+": r"https://github\.com/.*",
}
# That the page is there is enough: RFCs are long, and do not change; GitHub makes its places by a script.
linkcheck_anchors_ignore_for_url = [r"https://www\.rfc-editor\.org/rfc/.*", r"https://github\.com/.*"]
linkcheck_exclude_documents = [r"generated/.*"]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_title = f"smtpproto {version}"
html_show_sphinx = False
