"""Templates and static files that identity owns and that console and emitted apps build on.

`redoubt/base.html` is the layout. It needs nothing and uses, where given: `app_name`, `subject` (SessionState or
None), `csrf_token`, `nav` (a list of objects with `href`, `label` and, for the open one, `current`), `title`.
Blocks: `title`, `head`, `nav`, `content`, `scripts`. Scripts are modules from this origin; there is no inline
script or style, so that a CSP with `require-trusted-types-for 'script'` holds.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "templates"
STATIC = Path(__file__).parent / "static"


def environment() -> Environment:
    """Return an autoescaping Jinja environment over identity's own templates."""
    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
