"""HTML of the demo: tables with headers, images with alternative texts.

Streamlit's Markdown could load images of other sites: texts of datasets and of the model are escaped, here or by
`escape_markdown`.
"""

import base64
import re
import string
from collections.abc import Iterable, Sequence

from jinja2 import Environment
from markupsafe import Markup

from openmedq.demo.evidence import Neighbor
from openmedq.reporting.examples import shrink
from openmedq.schema import Image

STYLE = """<style>
.oq table { border-collapse: collapse; table-layout: fixed; width: 100%; overflow-wrap: anywhere; }
.oq caption { text-align: left; padding-bottom: .4rem; }
.oq th, .oq td { text-align: left; vertical-align: top; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #8886; }
.oq thead th:first-child { width: 26%; }
.oq tbody th { font-weight: 400; overflow-wrap: break-word; }  /* no name is broken on a phone */
.oq .bar { display: block; border-top: .5rem solid #0d8a7c; margin-top: .3rem; border-radius: 2px; }
.oq img { max-width: 100%; max-height: 24rem; border-radius: .3rem; margin: 0 .5rem .5rem 0; }
.oq.card img { width: 100%; height: 7rem; object-fit: contain; background: #0b0c0d; }
.oq td img { float: left; width: 5rem; height: 5rem; object-fit: contain; background: #0b0c0d; }
.oq caption, .oq thead, .oq small { font-size: .875rem; opacity: .75; }
.oq small { display: block; overflow: hidden; }  /* beside the image, not under it */
</style>"""

_TABLE = Environment(autoescape=True).from_string("""<div class="oq"{% if role %} role="{{ role }}"{% endif %}><table>
<caption>{{ caption }}</caption>
<thead><tr>{% for name in header %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in rows %}
<tr><th scope="row">{{ row[0] }}</th>{% for cell in row[1:] %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table></div>""")
_NEIGHBOR = Markup("{}{}<br><strong>{}</strong><small>{}; rows like this: {:,}; licence {}</small>")


def escape_markdown(text: str) -> str:
    """Return Markdown that shows a text as it is, on one line."""
    return re.sub(f"([{re.escape(string.punctuation)}])", r"\\\1", " ".join(text.split()))


def draw_images(images: Iterable[Image], alt: str, side_px: int) -> Markup:
    """Images that were read with their bytes, reduced to `side_px`."""
    files = (base64.b64encode(shrink(image.data or b"", side_px)).decode() for image in images)
    return Markup("").join(Markup('<img src="data:image/jpeg;base64,{}" alt="{}">').format(file, alt) for file in files)


def draw_table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], role: str = "") -> str:
    """A table whose first column names the rows; cells are texts or Markup. `role` is for screen readers."""
    return _TABLE.render(caption=caption, header=header, rows=rows, role=role)


def draw_share(share: float) -> Markup:
    """A share in percent with a bar."""
    return Markup('{0:.1%}<span class="bar" style="width: {0:.1%}" aria-hidden="true"></span>').format(share)


def draw_neighbors(title: str, neighbors: Iterable[Neighbor], side_px: int) -> str:
    """A table of training rows: similarity, image, question, answer, and where the row is from."""
    rows = []
    for similarity, num_rows, sample, turn in neighbors:
        image = draw_images(sample.images[:1], f"Image of {sample.id}", side_px)
        asked = turn.question or f"({sample.task})"
        shown = _NEIGHBOR.format(image, asked, turn.answer, sample.id, num_rows, sample.licence)
        rows.append((f"{similarity:.2f}", shown))
    return draw_table(title, ("Similarity", "Training row"), rows)
