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
    "docs._ext.diagrams",
    "docs._ext.speed",
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

html_theme = "furo"
html_title = f"smtpproto {version}"
html_show_sphinx = False
