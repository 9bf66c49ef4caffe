"""HTML of the demo: tables with headers, images with alternative texts.

Markup escapes what is formatted into it. Streamlit's Markdown could load images of other sites, so that texts of
datasets and of the model are shown here, or escaped by `escape_markdown`.
"""

from __future__ import annotations

import base64
import re
import string
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from openmedq.demo.evidence import Neighbor
from openmedq.reporting.examples import shrink

STYLE = """<style>
.oq table { border-collapse: collapse; width: 100%; }
.oq caption { text-align: left; font-size: .875rem; opacity: .75; padding-bottom: .4rem; }
.oq th, .oq td { text-align: left; vertical-align: top; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #8886;
  overflow-wrap: anywhere; }
.oq thead th { font-size: .875rem; }
.oq thead th + th { width: 40%; }
.oq tbody th { font-weight: 400; }
.oq .bar { display: block; border-top: .5rem solid #0d8a7c; margin-top: .3rem; border-radius: 2px; }
.oq .images { display: flex; flex-wrap: wrap; gap: .5rem; }
.oq img { max-width: 100%; max-height: 24rem; border-radius: .3rem; }
.oq .card img { display: block; width: 100%; height: 7rem; object-fit: contain; background: #0b0c0d; }
.oq ul { list-style: none; margin: 0; padding: 0; }
.oq li { display: flex; gap: .8rem; padding: .5rem 0; margin: 0; border-bottom: 1px solid #8886; }
.oq li img { width: 5rem; height: 5rem; object-fit: contain; background: #0b0c0d; flex: none; }
.oq li div { overflow-wrap: anywhere; min-width: 0; }
.oq small { display: block; opacity: .75; }
</style>"""

_MARKS = re.compile(f"([{re.escape(string.punctuation)}])")


def escape_markdown(text: str) -> str:
    """Return Markdown that shows a text as it is, on one line."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))


def draw_image(data: bytes, alt: str, side_px: int) -> Markup:
    """An encoded image, reduced to `side_px`."""
    uri = f"data:image/jpeg;base64,{base64.b64encode(shrink(data, side_px)).decode()}"
    return Markup('<img src="{}" alt="{}">').format(uri, alt)


def draw_table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
    """A table whose first column names the rows; cells are texts or Markup."""
    titles = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in header)
    body = Markup("").join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            first, Markup("").join(Markup("<td>{}</td>").format(cell) for cell in cells)
        )
        for first, *cells in rows
    )
    return Markup(
        '<div class="oq"><table><caption>{}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(caption, titles, body)


def draw_share(share: float) -> Markup:
    """A share in percent with a bar."""
    return Markup('{}<span class="bar" style="width: {}%" aria-hidden="true"></span>').format(
        format_share(share), round(100 * share, 1)
    )


def format_share(share: float) -> str:
    """A share in percent: `83 %`, `0.4 %`, `< 0.1 %`."""
    percent = 100 * share
    if 0 < percent < 0.1:
        return "< 0.1 %"
    return f"{percent:.1f} %" if 0 < percent < 1 else f"{percent:.0f} %"


def draw_neighbors(neighbors: Iterable[Neighbor], side_px: int) -> Markup:
    """A list of training rows: image, question, answer, and where the row is from."""
    return Markup('<div class="oq"><ul>{}</ul></div>').format(
        Markup("").join(_draw(each, side_px) for each in neighbors)
    )


def _draw(neighbor: Neighbor, side_px: int) -> Markup:
    sample = neighbor.sample
    data = sample.images[0].data if sample.images else None
    rows = f"{neighbor.num_rows:,} training row{'s' if neighbor.num_rows > 1 else ''}"
    return Markup("<li>{}<div>{}<br><strong>{}</strong><small>{}</small></div></li>").format(
        draw_image(data, f"Image of {sample.id}", side_px) if data else "",
        neighbor.question or f"({sample.task})",
        neighbor.answer,
        f"Similarity {neighbor.similarity:.2f}; {rows}; {sample.id}; licence {sample.licence}",
    )
