"""Reports: pure functions from a run's findings to text, JSON and HTML."""

from collections.abc import Callable, Mapping

from ..engine import Report
from .html import as_html
from .json import as_json, schema
from .text import as_text

FORMATS: Mapping[str, Callable[[Report], str]] = {"text": as_text, "json": as_json, "html": as_html}

__all__ = ["FORMATS", "as_html", "as_json", "as_text", "schema"]
