"""PMC-OA: 1.65 million figures from PubMed Central's open articles, with their captions (Lin et al., 2023).

Layout read, as published on Hugging Face, in the folder or up to two below it: `pmc_oa.jsonl` (a line is {"image":
"PMC212319_Fig3_4.jpg", "caption": ...}) and `images.zip` (22.7 GB, the pictures in a sub-folder, found by file name),
read in place; or the pictures unpacked in `images/` or in that sub-folder. Where `pmc_oa.jsonl` is absent,
`pmc_oa_beta.jsonl` is read; where that is absent too, the withdrawn `train.jsonl`, `valid.jsonl` and `test.jsonl`.
The attribute `list` names one that is not the first, and the log those that are not read. All are the split `train`:
the set is published without splits, and the division of the withdrawn lists (8:1:1) went with them.

The licence differs by article and is published nowhere in the set. Where PMC's list of its open articles lies beside
(see `formats/pmc_licences.py`; the one that PMC-VQA publishes comes along), each sample has its article's; else it is
unknown.

What is odd in the published files, and in the miniature:

- Lines stand in another order than the archive.
- A picture's name may stand in several lines with several captions: each line is a sample, called by its number and
  name. One caption may stand for several pictures, and does in the beta list: the whole caption for each sub-figure.
- A picture that is named but absent; two names for the same bytes; a figure published again in another encoding.
- A figure that VQA-RAD's test shows too.
- Colour, gray and CMYK pictures side by side.
- Articles of several licences, and articles that are not listed.
- The beta list has the article and the figure's file as fields; the others have them in the picture's name alone.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from openmedq.datasets.card import Access, Card, Edition, File
from openmedq.datasets.fields import Record, Unusable, keep, represent, take_optional_text, take_text
from openmedq.datasets.readers import find_below, places_near
from openmedq.datasets.readers.json_stream import stream_lines
from openmedq.datasets.readers.pmc_licences import ARTICLES, ArticleLicences, read_article_licences
from openmedq.errors import SourceError
from openmedq.schema import Groups, Provenance, Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.lookup import Pictures, open_pictures

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

# In the order of preference.
_LISTS = (("pmc_oa.jsonl",), ("pmc_oa_beta.jsonl",), ("train.jsonl", "valid.jsonl", "test.jsonl"))
FOLDER = "caption_T060_filtered_top4_sep_v0_subfigures"  # of the pictures, in images.zip
_NAME = re.compile(r"(PMC\d+)(?:_(.+)_\d+\.\w+)?")
_ATTRIBUTES = ("url_name", "alignment_type", "alignment_score")

_log = logging.getLogger(__name__)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the pairs; SourceError where no list of captions is there, it is cut, or the archive is not whole."""
    there = [[path for name in names for path in _find(raw, name)] for names in _LISTS]
    paths = next(filter(None, there), [])
    if not paths:
        raise SourceError(f"{raw}: no `pmc_oa.jsonl`; expected it there, as published at {card.homepage}")
    for path in (path for found in there if found is not paths for path in found):
        _log.info("%s: not read: %s is there", path, paths[0].name)
    licences = read_article_licences(raw)
    with open_pictures(raw, *places_near(raw, paths[0], "images.zip", "images", FOLDER)) as pictures:
        for path in paths:
            yield from _read_file(raw, path, pictures, licences)


def _find(raw: Path, name: str) -> list[Path]:
    """The file of that name in the folder, or else in one below it."""
    return [path for path in find_below(raw, name) if path.is_file()][:1]


def _read_file(raw: Path, path: Path, pictures: Pictures, licences: ArticleLicences) -> Iterator[Sample | Rejected]:
    part = f"{path.stem}-" if (path.name,) not in _LISTS else ""  # one of several lists, each with its own line 1

    def identify(key: str, record: Record) -> tuple[str, str]:
        return f"{part}{key}-{_stem(take_text(record, 'image'))}", "train"

    def build(record: Record, sample_id: str, split: str, provenance: Provenance) -> Sample:
        name = take_text(record, "image")
        caption = take_text(record, "caption", empty=Reason.ANSWER_EMPTY)
        picture = pictures.find(name)
        if picture is None:
            raise Unusable(Reason.IMAGE_MISSING, f"no file {name} {pictures.where}")
        attributes = {name: take_optional_text(record, name) for name in _ATTRIBUTES}
        match = _NAME.match(picture.image_id)
        article, figure = match.groups() if match else (None, None)
        article = article or take_optional_text(record, "pmcid") or None
        return Sample(
            id=sample_id,
            source=card.id,
            split=split,
            task=card.task,
            modality=card.modality,
            licence=licences.find(article) or card.licence,
            provenance=provenance,
            turns=(Turn("", caption),),
            images=(picture,),
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
    """The picture's name without folder and ending, in one line."""
    return "_".join(Path(name.replace("\\", "/")).stem.split())
