"""The configuration of the documentation site, which the session `docs` builds."""

import sys
from pathlib import Path
from typing import Any

from pygments.lexers import BashLexer

import aiomsi
from aiomsi._version import VERSION

sys.path.insert(0, str(Path(__file__).parent))
import site_pages

project = "aiomsi"
author = "The aiomsi developers"
project_copyright = author
version = release = VERSION

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "aiomsi"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {
    "source_repository": "https://github.com/aiomsi/aiomsi/",
    "source_branch": "main",
    "source_directory": "docs/",
}
templates_path: list[str] = []

# The pages are read on GitHub, too: plain Markdown, with links to files.
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True  # the name of a default, not its repr
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # as fields: attrs documents the attributes themselves, too

# The words in backquotes are names of this package or of Python.
default_role = "code"
nitpicky = False
copybutton_exclude = ".linenos, .gp, .go"

# Late names are no attributes of the module until their first use.
for _name in aiomsi.__all__:
    getattr(aiomsi, _name)


def setup(app: Any) -> None:
    """Read each page as `site_pages` changes it."""

    def read(_: object, name: str, source: list[str]) -> None:
        source[0] = site_pages.adapt(name, source[0])

    app.connect("source-read", read)
    # The commands have no prompt, so that they can be copied; Pygments takes them for output.
    app.add_lexer("console", BashLexer)
