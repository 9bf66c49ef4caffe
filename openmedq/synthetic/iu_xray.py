"""The generated miniature of IU X-Ray."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from openmedq.datasets.iu_xray.iu_xray import card
from openmedq.synthetic.draw import Figure, describe, draw, draw_figures, encode_png, generator
from openmedq.synthetic.files import save, to_tar_gz

_INDICATIONS = ("Positive TB test", "XXXX-year-old with chest pain", "Preop bariatric surgery.")
_CAPTIONS = ("Xray Chest PA and Lateral", "CHEST 2V FRONTAL/LATERAL XXXX, XXXX XXXX PM")
_REPORT = """\
<?xml version="1.0" encoding="utf-8"?>
<eCitation>
   <uId id="CXR{number}"/>
   <licenseURL>http://creativecommons.org/licenses/by-nc-nd/4.0/</licenseURL>
   <MedlineCitation>
      <Article>
         <Abstract>
            <AbstractText Label="COMPARISON">{comparison}</AbstractText>
            <AbstractText Label="INDICATION">{indication}</AbstractText>
            <AbstractText Label="FINDINGS">{findings}</AbstractText>
            <AbstractText Label="IMPRESSION">{impression}</AbstractText>
         </Abstract>
      </Article>
   </MedlineCitation>
   <MeSH>{mesh}</MeSH>{images}
</eCitation>
"""
_IMAGE = """
   <parentImage id="{name}">
      <figureId>F{number}</figureId>
      <caption>{caption}</caption>
   </parentImage>"""


def write(raw: Path, seed: int = 0) -> None:
    """Write both archives of Open-i: 50 reports, most with two images of a chest that show the findings."""
    random = generator(seed, card.id)
    figures = [figure for figure in draw_figures(seed, card.id, 1) if figure.organ == "chest"]
    numbers = [1, *sorted(map(int, random.choice(np.arange(2, 4000), len(figures) + 2, replace=False)))]
    reports: dict[int, str] = {}
    images: dict[str, bytes] = {}
    for index, (number, figure) in enumerate(zip(numbers, figures, strict=False)):
        views = [replace(figure, texture=int(random.integers(2**62))) for _ in range({30: 1, 31: 3}.get(index, 2))]
        names = [_name(number, view, is_long=index % 16 == 7) for view in range(1, len(views) + 1)]
        reports[number] = _write_report(index, number, figure, names)
        images |= {f"{name}.png": encode_png(draw(view)) for name, view in zip(names, views, strict=True)}
    *_, without_images, without_text, without_report = numbers
    reports[without_images] = _write_report(0, without_images, figures[0], [])
    reports[without_text] = _write_report(20, without_text, figures[0], [])
    images[f"{_name(without_report, 1, is_long=False)}.png"] = encode_png(draw(figures[0]))
    del images[f"{_name(numbers[40], 2, is_long=False)}.png"]
    images["./Thumbs.db"] = b"thumbnails of some of the pictures"

    texts = {f"ecgen-radiology/{number}.xml": text.encode() for number, text in reports.items()}
    for name, files in (("NLMCXR_reports.tgz", texts), ("NLMCXR_png.tgz", images)):
        save(raw / name, to_tar_gz(dict(sorted(files.items()))))


def _name(number: int, view: int, *, is_long: bool) -> str:
    if number == 1:
        return f"CXR1_1_IM-0001-{view + 2}001"
    return f"CXR{number}_IM-{number % 2600:04}-" + (f"0001-000{view}" if is_long else f"{view}001")


def _write_report(index: int, number: int, figure: Figure, names: list[str]) -> str:
    findings = f"{describe(figure)} No XXXX effusion."
    impression = f"Large mass in the {figure.position}." if figure.is_large else "Normal chest x-XXXX."
    mesh = f"<major>Mass/large/{figure.position} </major><automatic>mass</automatic>"
    caption = _CAPTIONS[index % 2]
    return _REPORT.format(
        number=number,
        comparison="" if index % 6 == 1 else "None.",
        indication="" if index % 10 == 5 else _INDICATIONS[index % 3],
        findings="" if index % 8 == 3 or index == 20 else findings,
        impression="" if index in (10, 20) else impression,
        mesh=mesh if figure.is_large else "<major>normal</major>",
        images="".join(_IMAGE.format(name=name, number=i, caption=caption) for i, name in enumerate(names, start=1)),
    )
