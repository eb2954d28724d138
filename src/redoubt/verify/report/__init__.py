"""Reports: pure functions from a run's findings to text, JSON, HTML, and the observed access as CSV."""

from collections.abc import Callable, Mapping

from ..engine import Report
from .access import as_access
from .html import as_html
from .json import as_json, schema
from .text import as_text

FORMATS: Mapping[str, Callable[[Report], str]] = {
    "text": as_text,
    "json": as_json,
    "html": as_html,
    "access": as_access,
}

__all__ = ["FORMATS", "as_access", "as_html", "as_json", "as_text", "schema"]
