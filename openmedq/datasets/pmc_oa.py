"""PMC-OA: 1.65 million figures from open articles in PubMed Central, with captions (Lin et al., 2023).

Source: https://huggingface.co/datasets/axiong/pmc_oa

Layout, in the raw folder or up to two folders below it: `pmc_oa.jsonl` with one {"image": "PMC212319_Fig3_4.jpg",
"caption": ...} per line, and `images.zip` (22.7 GB), which is read in place. The images may also be unpacked, in
`images/` or in the archive's own subfolder. They are found by file name. If `pmc_oa.jsonl` is absent,
`pmc_oa_beta.jsonl` is read, and if both are absent, the withdrawn `train.jsonl`, `valid.jsonl` and `test.jsonl`. The
attribute `list` names the list unless it is `pmc_oa.jsonl`; the log names the lists that are not read.

All samples are in the split `train`, because the current lists have no splits. The withdrawn lists were split 8:1:1.

The license differs by article, and these files do not state it. If PMC's list of open articles is present (see
`readers/pmc_licences.py`; PMC-VQA's copy of it is downloaded), a sample gets the license of its article.

Known irregularities of the published files, which the miniature reproduces:

- The order of the lines differs from the order of the archive.
- An image may have several captions, one per line. Each line is a sample; its id is line number and image name.
- A caption may belong to several images. The beta list repeats the whole caption for each subfigure.
- Some listed images are missing. Some images have two names, or are published twice in different encodings.
- One figure is also in VQA-RAD's test split.
- Images are JPEG in RGB, grayscale and CMYK.
- Articles have different licenses, and some articles are missing from PMC's list.
- Only the beta list has the article (`pmcid`) and the figure's file (`url_name`) as fields. Elsewhere they are part of
  the image name.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from openmedq.datasets.card import Access, Card, Edition, File
from openmedq.datasets.fields import Record, Unusable, keep, make_sample, represent, take_optional_text, take_text
from openmedq.datasets.readers import find_below, places_near
from openmedq.datasets.readers.json_stream import stream_lines
from openmedq.datasets.readers.pmc_licences import ARTICLES, ArticleLicences, read_article_licences
from openmedq.errors import SourceError
from openmedq.schema import Groups, Provenance, Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.lookup import ImageLookup, open_images

_URL = "https://huggingface.co/datasets/axiong/pmc_oa/resolve/1d2296e9c022a24e82a47e524d53f0915b98c926"

_IMAGES = File(path="images.zip", url=f"{_URL}/images.zip", size_bytes=22_746_087_463)

card = Card(
    id="pmc_oa",
    title="PMC-OA",
    aliases=("axiong/pmc_oa", "pmc_oa_beta", "WeixiongLin/PMC-CLIP"),
    homepage="https://huggingface.co/datasets/axiong/pmc_oa",
    citation="Lin et al., PMC-CLIP: Contrastive Language-Image Pre-training using Biomedical Documents, MICCAI 2023",
    licence="per article: PMC Open Access mix, partly non-commercial; not stated in the set",
    has_row_licences=True,
    access=Access.OPEN,
    task=Task.CAPTION,
    modality="mixed",
    files=(
        File(
            path="pmc_oa.jsonl",
            url=f"{_URL}/pmc_oa.jsonl",
            size_bytes=454_568_741,
            sha256="05702cd5fb41ebf55a7226ca3c53e68edff4b4455224d7e6ff9d01157f5aaf23",
        ),
        _IMAGES,
        ARTICLES,
    ),
    editions={
        "beta": Edition(files=(File(path="pmc_oa_beta.jsonl", url=f"{_URL}/pmc_oa_beta.jsonl"), _IMAGES, ARTICLES))
    },
    roles={"train": Role.TRAIN},
    published_rows={"train": 1_650_000},  # rounded by the publisher
)

# By preference.
_LISTS = (("pmc_oa.jsonl",), ("pmc_oa_beta.jsonl",), ("train.jsonl", "valid.jsonl", "test.jsonl"))
FOLDER = "caption_T060_filtered_top4_sep_v0_subfigures"  # in images.zip
_NAME = re.compile(r"(PMC\d+)(?:_(.+)_\d+\.\w+)?")
_ATTRIBUTES = ("url_name", "alignment_type", "alignment_score")

_log = logging.getLogger(__name__)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the pairs. SourceError if no list of captions is present, or a list or the archive is truncated."""
    present = [[path for name in names for path in _find(raw, name)] for names in _LISTS]
    paths = next(filter(None, present), [])
    if not paths:
        raise SourceError(f"{raw}: no `pmc_oa.jsonl`; expected the files of {card.homepage}")
    for path in (path for found in present if found is not paths for path in found):
        _log.info("%s: not read, because %s is present", path, paths[0].name)
    licences = read_article_licences(raw)
    with open_images(raw, *places_near(raw, paths[0], "images.zip", "images", FOLDER)) as images:
        for path in paths:
            yield from _read_file(raw, path, images, licences)


def _find(raw: Path, name: str) -> list[Path]:
    """The file of that name closest to the raw folder, as a list of at most one path."""
    return [path for path in find_below(raw, name) if path.is_file()][:1]


def _read_file(raw: Path, path: Path, images: ImageLookup, licences: ArticleLicences) -> Iterator[Sample | Rejected]:
    part = f"{path.stem}-" if (path.name,) not in _LISTS else ""  # the withdrawn lists each start at line 1

    def identify(key: str, record: Record) -> tuple[str, str]:
        return f"{part}{key}-{_stem(take_text(record, 'image'))}", "train"

    def build(record: Record, sample_id: str, split: str, provenance: Provenance) -> Sample:
        name = take_text(record, "image")
        caption = take_text(record, "caption", empty=Reason.ANSWER_EMPTY)
        image = images.find(name)
        if image is None:
            raise Unusable(Reason.IMAGE_MISSING, f"no file {name} {images.where}")
        attributes = {name: take_optional_text(record, name) for name in _ATTRIBUTES}
        match = _NAME.match(image.image_id)
        article, figure = match.groups() if match else (None, None)
        article = article or take_optional_text(record, "pmcid") or None
        return make_sample(
            card,
            sample_id,
            split,
            provenance,
            licence=licences.find(article) or card.licence,
            turns=(Turn("", caption),),
            images=(image,),
            groups=Groups(article=article),
            attributes=keep(list="" if path.name == _LISTS[0][0] else path.stem, figure=figure or "", **attributes),
        )

    return represent(
        stream_lines(path),
        source=card.id,
        unit="line",
        raw=raw,
        path=path,
        identify=identify,
        build=build,
        seen=None,
    )


def _stem(name: str) -> str:
    """The image's file name without extension and whitespace."""
    return "_".join(Path(name.replace("\\", "/")).stem.split())
