"""HTML of the demo: tables with headers, images with alternative texts.

The templates escape what they show. Streamlit's Markdown could load images of other sites, so texts of datasets and of
the model are shown here, or escaped by `escape_markdown`.
"""

from __future__ import annotations

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
.oq table { border-collapse: collapse; width: 100%; }
.oq caption { text-align: left; font-size: .875rem; opacity: .75; padding-bottom: .4rem; }
.oq th, .oq td { text-align: left; vertical-align: top; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #8886;
  overflow-wrap: anywhere; }
.oq thead th { font-size: .875rem; }
.oq thead th + th { width: 40%; }
.oq tbody th { font-weight: 400; overflow-wrap: break-word; }  /* no name is broken on a phone */
.oq .bar { display: block; border-top: .5rem solid #0d8a7c; margin-top: .3rem; border-radius: 2px; }
.oq.images { display: flex; flex-wrap: wrap; gap: .5rem; }
.oq img { max-width: 100%; max-height: 24rem; border-radius: .3rem; }
.oq.card img { display: block; width: 100%; height: 7rem; object-fit: contain; background: #0b0c0d; }
.oq ul { list-style: none; margin: 0; padding: 0; }
.oq li { display: flex; gap: .8rem; padding: .5rem 0; margin: 0; border-bottom: 1px solid #8886; }
.oq li img { width: 5rem; height: 5rem; object-fit: contain; background: #0b0c0d; flex: none; }
.oq li div { overflow-wrap: anywhere; min-width: 0; }
.oq small { display: block; opacity: .75; }
</style>"""

_ENVIRONMENT = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
_TABLE = _ENVIRONMENT.from_string("""<div class="oq"{% if role %} role="{{ role }}"{% endif %}><table>
<caption>{{ caption }}</caption>
<thead><tr>{% for name in header %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr><th scope="row">{{ row[0] }}</th>{% for cell in row[1:] %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>""")
_NEIGHBORS = _ENVIRONMENT.from_string("""<div class="oq"><ul>
{% for each in neighbors %}
<li>{{ draw_image(each.sample.images[0], "Image of " ~ each.sample.id, side_px) if each.sample.images }}
<div>{{ each.question or "(%s)" % each.sample.task }}<br><strong>{{ each.answer }}</strong>
<small>Similarity {{ "%.2f" % each.similarity }};
{{ "{:,}".format(each.num_rows) }} training row{{ "s" if each.num_rows > 1 }}; {{ each.sample.id }};
licence {{ each.sample.licence }}</small></div></li>
{% endfor %}
</ul></div>""")
_MARKS = re.compile(f"([{re.escape(string.punctuation)}])")


def escape_markdown(text: str) -> str:
    """Return Markdown that shows a text as it is, on one line."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))


def draw_images(images: Iterable[Image], alt: str, side_px: int, kind: str) -> str:
    """Images in a box of the style `kind`: images or card; "" without any."""
    drawn = Markup("").join(draw_image(image, alt, side_px) for image in images)
    return Markup('<div class="oq {}">{}</div>').format(kind, drawn) if drawn else ""


def draw_image(image: Image, alt: str, side_px: int) -> Markup:
    """An image that was read with its bytes, reduced to `side_px`."""
    uri = f"data:image/jpeg;base64,{base64.b64encode(shrink(image.data or b'', side_px)).decode()}"
    return Markup('<img src="{}" alt="{}">').format(uri, alt)


def draw_table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], role: str = "") -> str:
    """A table whose first column names the rows; cells are texts or Markup. `role` is for screen readers."""
    return _TABLE.render(caption=caption, header=header, rows=rows, role=role)


def draw_share(share: float) -> Markup:
    """A share in percent with a bar."""
    bar = Markup('{}<span class="bar" style="width: {}%" aria-hidden="true"></span>')
    return bar.format(format_share(share), round(100 * share, 1))


def format_share(share: float) -> str:
    """A share in percent: `83 %`, `0.4 %`, `< 0.1 %`."""
    percent = 100 * share
    if 0 < percent < 0.1:
        return "< 0.1 %"
    return f"{percent:.1f} %" if 0 < percent < 1 else f"{percent:.0f} %"


def draw_neighbors(neighbors: Iterable[Neighbor], side_px: int) -> str:
    """A list of training rows: image, question, answer, and where the row is from."""
    return _NEIGHBORS.render(neighbors=neighbors, side_px=side_px, draw_image=draw_image)
