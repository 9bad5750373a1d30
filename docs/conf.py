"""The configuration of the documentation site, which the session `docs` builds."""

import aiomsi
from aiomsi._version import VERSION

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
templates_path: list[str] = []

# The pages are read on GitHub, too: plain Markdown, with links to files.
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # as fields: attrs documents the attributes themselves, too

# The words in backquotes are names of this package or of Python.
default_role = "code"
nitpicky = False
suppress_warnings: list[str] = []

# Late names are no attributes of the module until their first use.
for _name in aiomsi.__all__:
    getattr(aiomsi, _name)
