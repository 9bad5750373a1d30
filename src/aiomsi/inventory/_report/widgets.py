"""The scripts and styles of the page: those of this folder, and Tabulator's."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import metadata, resources, util

import attrs

from aiomsi._errors import ConfigurationError
from aiomsi.inventory._extras import make_extra_error

_PACKAGE = "django-js-lib-tabulator"
_MODULE = "js_lib_tabulator"
_SOURCE_MAP = re.compile(r"^\s*(?://|/\*)# sourceMappingURL=.*$", re.MULTILINE)


@attrs.frozen(eq=False)
class Source:
    """A script or a style sheet.

    Attributes:
        text: the text within the element.

    """

    text: str

    @property
    def hash(self) -> str:
        """The hash for the Content-Security-Policy.

        Source: https://www.w3.org/TR/CSP3/#grammardef-hash-source
        """
        digest = hashlib.sha256(self.text.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"


@attrs.frozen(eq=False)
class Widgets:
    """The sources of a page.

    Attributes:
        scripts: the scripts, in order.
        styles: the style sheets, in order.
        license: the licence of Tabulator, which a copy of it must contain.

    """

    scripts: tuple[Source, ...]
    styles: tuple[Source, ...]
    license: str


def read_own(name: str) -> str:
    """Return a file of this folder."""
    return _clean(resources.files("aiomsi.inventory._report").joinpath(name).read_text("utf-8"))


def read_widgets() -> Widgets:
    """Return the sources of the page.

    Raises:
        ConfigurationError: the extra `report` is not installed.

    """
    try:
        folder = resources.files(_MODULE).joinpath("static", "tabulator")
        script = folder.joinpath("js", "tabulator.min.js").read_text("utf-8")
        style = folder.joinpath("css", "tabulator_simple.min.css").read_text("utf-8")
    except (ImportError, OSError):
        raise make_missing_error(_PACKAGE) from None
    return Widgets(
        (Source(_clean(script)), Source(read_own("page.js"))),
        (Source(_clean(style)), Source(read_own("page.css"))),
        metadata.distribution(_PACKAGE).read_text("LICENSE.txt") or "",
    )


def check_extra() -> None:
    """Check that the packages of a report are installed, without the import of matplotlib.

    Raises:
        ConfigurationError: the extra `report` is not installed.

    """
    for module, package in ((_MODULE, _PACKAGE), ("matplotlib", "matplotlib")):
        if util.find_spec(module) is None:
            raise make_missing_error(package)


def make_missing_error(package: str) -> ConfigurationError:
    """Return the error for a package that is missing."""
    return make_extra_error("report", f"a report needs {package}, which is not installed")


def _clean(text: str) -> str:
    """Return a source without its source map, which a browser's tools would request.

    A browser hashes the text after it has normalized the ends of its lines.
    """
    return _SOURCE_MAP.sub("", text).replace("\r\n", "\n").strip()
