"""The validation page: one self-contained HTML file with each expectation and its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2


def render_page(verdict: Mapping[str, Any]) -> str:
    """Render the verdict as HTML. The page contains counts only, no values or ids of records."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("openmedq.curate"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("validation.html.j2").render(verdict=verdict)
