"""Pages that are one file: their style, scripts and data are inside, nothing comes from elsewhere."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from caffecompat import __version__

__all__ = ["asset", "finite", "make_page"]

_FOLDER = Path(__file__).parent / "pages"


def asset(name: str) -> str:
    """The text of a style sheet or script of the package."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def make_page(title: str, body: str, data: Any, *, styles: Sequence[str] = (), scripts: Sequence[str] = ()) -> str:
    """The HTML of a page, dark or light as the reader's system is, with a button that changes it.

    Args:
        body: HTML, in which texts from files are escaped.
        data: what JSON can hold, without NaN and infinity; scripts find it as ``DATA``.
        styles, scripts: names of files in the package's folder ``report/pages``.
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return "\n".join([
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # A page opened from a disk asks nobody for anything, whatever a name in it may look like.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; style-src \'unsafe-inline\'; '
        "script-src 'unsafe-inline'; img-src data:; frame-src 'self'\">",
        f'<meta name="generator" content="caffecompat {__version__}">',
        f"<title>{escape(title)}</title>",
        f"<style>{''.join(map(asset, ('theme.css', *styles)))}</style></head><body>",
        body,
        f'<script type="application/json" id="data">{_in_script(text)}</script>',
        f"<script>{''.join(map(asset, ('theme.js', *scripts)))}</script></body></html>",
        "",
    ])  # fmt: skip


def _in_script(text: str) -> str:
    """JSON in which nothing ends the script element or begins a comment; the same values."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def finite(value: float | None, digits: int = 6) -> float | None:
    """A number for JSON, rounded to so many significant digits; None for NaN and infinity."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{digits}g}")
