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

import json
import logging
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from openmedq.cards import Access, Card, Edition, File
from openmedq.cards.drawing import Figure, draw, draw_figures, encode_jpeg, generator, shared_figure, tint
from openmedq.cards.fields import Record, Unusable, keep, represent, take_optional_text, take_text
from openmedq.errors import SourceError
from openmedq.formats import find_below, places_near
from openmedq.formats.json_stream import stream_lines
from openmedq.formats.pmc_licences import ARTICLES, ArticleLicences, draw_articles, read_article_licences
from openmedq.io.lookup import Pictures, open_pictures
from openmedq.schema import Groups, Provenance, Reason, Rejected, Role, Sample, Task, Turn

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
_FOLDER = "caption_T060_filtered_top4_sep_v0_subfigures"  # of the pictures, in images.zip
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
    with open_pictures(raw, *places_near(raw, paths[0], "images.zip", "images", _FOLDER)) as pictures:
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


# The miniature --------------------------------------------------------------------------------------------------------

_TINTS = ((1.0, 0.85, 0.95), (0.9, 1.0, 1.05))


def miniature(raw: Path, seed: int = 0) -> None:
    """Write `pmc_oa.jsonl` with about 300 pairs, `pmc_oa_beta.jsonl` beside it, and `images.zip`."""
    random = generator(seed, card.id)
    figures = draw_figures(seed, card.id, num_rounds=2)
    names = _figure_names(random, len(figures) + 4)
    pictures = {name: _encode(figure, index) for index, (name, figure) in enumerate(zip(names, figures, strict=False))}
    pairs = [(name, _caption(figure)) for name, figure in zip(names, figures, strict=False)]

    again, recoded, shared, absent = names[len(figures) :]
    pictures[again], captioned = pictures[names[5]], _caption(figures[5])
    pictures[recoded] = encode_jpeg(draw(figures[9]), quality=60)
    pictures[shared] = encode_jpeg(draw(shared_figure(seed)))
    pairs += [(again, captioned), (recoded, _caption(figures[9])), (shared, _caption(shared_figure(seed)))]
    pairs += [(absent, "Axial image of the chest."), (names[7], "The same picture with a second caption.")]
    pairs[11] = (pairs[11][0], pairs[12][1])  # one caption for two pictures
    pairs = [pairs[index] for index in random.permutation(len(pairs))]

    raw.mkdir(parents=True, exist_ok=True)
    _write_lines(raw / "pmc_oa.jsonl", [{"image": name, "caption": caption} for name, caption in pairs])
    _write_lines(raw / "pmc_oa_beta.jsonl", _compound(names[:40], figures))
    draw_articles(raw / ARTICLES.path, sorted({name.partition("_")[0] for name in names[:200]}))
    with zipfile.ZipFile(raw / "images.zip", "w") as archive:
        for name, data in sorted(pictures.items()):
            archive.writestr(zipfile.ZipInfo(f"{_FOLDER}/{name}"), data)  # ZipInfo: no clock in the bytes


def _figure_names(random: np.random.Generator, num_names: int) -> list[str]:
    """Three figures to an article, two pictures to a figure, numbered through the set as published."""
    articles = np.sort(random.choice(np.arange(200_000, 9_000_000), num_names // 6 + 1, replace=False))
    return [f"PMC{articles[index // 6]}_F{index // 2 % 3 + 1}_{index}.jpg" for index in range(num_names)]


def _compound(names: list[str], figures: list[Figure]) -> list[dict[str, str]]:
    """The lines of the beta list: both pictures of a figure under its whole caption."""
    records = []
    for index, name in enumerate(names):
        caption = " ".join(f"({part}) {_caption(figures[index // 2 * 2 + place])}" for place, part in enumerate("AB"))
        article, figure, _ = name.split("_")
        records.append({"image": name, "caption": caption, "pmcid": article, "url_name": f"{figure}.jpg"})
    return records


def _encode(figure: Figure, index: int) -> bytes:
    pixels = draw(figure)
    if index == 2:
        return encode_jpeg(pixels, mode="CMYK")
    if index % 3 == 1:
        return encode_jpeg(tint(pixels, _TINTS[index % 2]), mode="RGB")
    return encode_jpeg(pixels)


def _caption(figure: Figure) -> str:
    size, level = "large" if figure.is_large else "small", "bright" if figure.is_bright else "dark"
    clips = "1 clip is" if figure.num_clips == 1 else f"{figure.num_clips} clips are"
    return f"Image of the {figure.organ}. A {size} mass in the {figure.position}, {level} background; {clips} seen."


def _write_lines(path: Path, records: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
