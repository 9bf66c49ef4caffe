"""Makes Great Expectations' pages stand alone: they open from disk, without a network, and ask no host for anything.

As rendered, each page loads styles and scripts from eight hosts, and the list of pages is drawn by such a script:
offline it is empty. So scripts and styles go, a small style sheet comes, and the index is our own.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment

_FOREIGN = re.compile(r"""<(script|style)\b.*?</\1>|<link\b[^>]*>|<img\b[^>]*\bsrc="https?://[^>]*>""", re.DOTALL)

_STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 1rem 2rem 4rem; max-width: 72rem; }
body { font: 15px/1.45 system-ui, sans-serif; color: #1d2733; }
h1 { font-size: 1.4rem; } h2, h4 { font-size: 1.1rem; } h5, h6 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
table { border-collapse: collapse; width: 100%; margin: .3rem 0 1rem; }
td, th { border-bottom: 1px solid #d9e0e7; padding: .3rem .6rem; text-align: left; vertical-align: top; }
a { color: #0b5cad; } ol.breadcrumb, ul.nav { list-style: none; padding: 0; } ol.breadcrumb li { display: inline; }
ol.breadcrumb li + li::before { content: " / "; } ul.nav li { display: inline-block; margin-right: 1rem; }
.fa-check-circle::before, .green::before { content: "\\2713 "; color: #1a7f37; font-weight: bold; }
.fa-times::before, .fa-exclamation-circle::before, .fa-exclamation-triangle::before, .red::before
  { content: "\\2717 "; color: #b42318; font-weight: bold; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
nav.navbar { height: auto !important; } .card:has(.btn-group), [data-toggle=collapse], footer, .cta-footer
  { display: none; }
"""

_INDEX = Environment(autoescape=True).from_string("""<!DOCTYPE html>
<html lang="en">
<head><meta charset="UTF-8"><title>OpenMedQ: data docs</title><style>{{ style|safe }}</style></head>
<body>
<h1>The data held to their expectations:
  {% if verdict.success %}<span class="green">green</span>
  {% else %}<span class="red">{{ verdict.num_red }} of {{ verdict.num_expectations }} red</span>{% endif %}</h1>
{% for table, page in pages.items() %}
<h2>{{ table }}</h2>
<p><a href="{{ page.result }}">Result</a>, <a href="{{ page.suite }}">suite</a></p>
<table>
<tr><th>Expectation</th><th>Column</th><th class="number">Unexpected</th><th class="number">Rows</th></tr>
{% for one in verdict.expectations if one.table == table %}
<tr><td class="{{ 'green' if one.success else 'red' }}">{{ one.statement }}</td><td>{{ one.columns|join(", ") }}</td>
<td class="number">{{ "observed " ~ one.observed if one.num_unexpected is none else one.num_unexpected }}</td>
<td class="number">{{ one.num_rows }}</td></tr>
{% endfor %}
</table>
{% endfor %}
</body>
</html>
""")


def finish_pages(folder: Path, verdict: Mapping[str, Any]) -> None:
    """Rewrite the pages below `folder` in place, and its index.html from the verdict; drop what they then don't use."""
    shutil.rmtree(folder / "static")
    for page in folder.rglob("*.html"):
        text = _FOREIGN.sub("", page.read_text(encoding="utf-8"))
        page.write_text(text.replace("</head>", f"<style>{_STYLE}</style></head>", 1), encoding="utf-8")
    pages = {
        suite.stem: {
            "suite": suite.relative_to(folder).as_posix(),
            "result": next((folder / "validations" / suite.stem).rglob("*.html")).relative_to(folder).as_posix(),
        }
        for suite in sorted((folder / "expectations").glob("*.html"))
    }
    index = _INDEX.render(style=_STYLE, verdict=verdict, pages=pages)
    (folder / "index.html").write_text(index, encoding="utf-8")
