"""PMC-OA: 1.65 million figures from open articles in PubMed Central, with captions (Lin et al., 2023).

Source: https://huggingface.co/datasets/axiong/pmc_oa

Layout, in the raw folder or up to two folders below it: `pmc_oa.jsonl` with one {"image": "PMC212319_Fig3_4.jpg",
"caption": ...} per line, and `images.zip` (22.7 GB), which is read in place. The images may also be unpacked, in
`images/` or in the archive's own subfolder. They are found by file name. If `pmc_oa.jsonl` is absent,
`pmc_oa_beta.jsonl` is read, and the attribute `list` has its name. All samples are in the split `train`.

The license differs by article, and these files do not state it. If PMC's list of open articles is present (see
`readers/pmc_licences.py`; PMC-VQA's copy of it is downloaded), a sample gets the license of its article.

Known irregularities of the published files, which the miniature reproduces:

- An image may have several captions, one per line. Each line is a sample; its id is line number and image name.
- A caption may belong to several images. The beta list repeats the whole caption for each subfigure.
- Some listed images are missing. Some images have two names, or are published twice in different encodings.
- Images are JPEG in RGB, grayscale and CMYK.
- Articles have different licenses, and some articles are missing from PMC's list.
- Only the beta list has the article (`pmcid`) and the figure's file (`url_name`) as fields. Elsewhere they are part of
  the image name.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from openmedq.datasets.card import Access, Card, Edition, pinned
from openmedq.datasets.fields import Content, Record, find_image, keep, represent, take_optional_text, take_text
from openmedq.datasets.readers import find_files_below, not_found, places_near, use_first
from openmedq.datasets.readers.json_stream import stream_lines
from openmedq.datasets.readers.pmc_licences import ARTICLES, ArticleLicences, read_article_licences
from openmedq.schema import Groups, Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.lookup import ImageLookup, open_images

_URL = "https://huggingface.co/datasets/axiong/pmc_oa/resolve/1d2296e9c022a24e82a47e524d53f0915b98c926"

_COMMON = (*pinned(_URL, {"images.zip": (22_746_087_463, None)}), ARTICLES)

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
        *pinned(
            _URL, {"pmc_oa.jsonl": (454_568_741, "05702cd5fb41ebf55a7226ca3c53e68edff4b4455224d7e6ff9d01157f5aaf23")}
        ),
        *_COMMON,
    ),
    editions={"beta": Edition(files=(*pinned(_URL, {"pmc_oa_beta.jsonl": (None, None)}), *_COMMON))},
    roles={"train": Role.TRAIN},
    published_rows={"train": 1_650_000},  # rounded by the publisher
)

_LISTS = ("pmc_oa.jsonl", "pmc_oa_beta.jsonl")  # the first that is present is read
FOLDER = "caption_T060_filtered_top4_sep_v0_subfigures"  # in images.zip
_NAME = re.compile(r"(PMC\d+)(?:_(.+)_\d+\.\w+)?")
_ATTRIBUTES = ("url_name", "alignment_type", "alignment_score")


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the pairs. SourceError if no list of captions is present, or a list or the archive is truncated."""
    paths = find_files_below(raw, *_LISTS)
    if not paths:
        raise not_found(card, raw, f"`{_LISTS[0]}`")
    path = use_first(paths)
    licences = read_article_licences(raw)
    with open_images(raw, *places_near(raw, path, "images", FOLDER, "images.zip")) as images:
        yield from _read_file(raw, path, images, licences)


def _read_file(raw: Path, path: Path, images: ImageLookup, licences: ArticleLicences) -> Iterator[Sample | Rejected]:
    def identify(key: str, record: Record) -> tuple[str, str]:
        return f"{key}-{_stem(take_text(record, 'image'))}", "train"

    def build(record: Record, split: str) -> Content:
        caption = take_text(record, "caption", empty=Reason.ANSWER_EMPTY)
        image = find_image(images, take_text(record, "image"))
        attributes = {name: take_optional_text(record, name) for name in _ATTRIBUTES}
        match = _NAME.match(image.image_id)
        article, figure = match.groups() if match else (None, None)
        article = article or take_optional_text(record, "pmcid") or None
        return {
            "licence": licences.find(article) or card.licence,
            "turns": (Turn("", caption),),
            "images": (image,),
            "groups": Groups(article=article),
            "attributes": keep(list="" if path.name == _LISTS[0] else path.stem, figure=figure or "", **attributes),
        }

    return represent(card, stream_lines(path), raw=raw, path=path, identify=identify, build=build, unit="line")


def _stem(name: str) -> str:
    """The image's file name without extension and whitespace."""
    return "_".join(Path(name.replace("\\", "/")).stem.split())
