"""ROCO: 87,925 figures of open articles with captions, 81,807 of them radiology (Pelka et al., 2018).

Source: https://github.com/razorx89/roco-dataset

Layouts, at most three folders below the raw folder. The first one that is present is read; the log names the others.

1. ROCO: `data/{train,validation,test}/{radiology,non-radiology}/` with `captions.txt` (id, tab, caption),
   `keywords.txt`, `cuis.txt`, `semtypes.txt`, `dlinks.txt` and `licences.txt`. `data/` may have another name
   (`all_data/` in Kaggle's copy) or be omitted. The images are in `images/`, where the repository's `scripts/fetch.py`
   puts them, or in `pictures/`, where our download stage puts them. PubMed Central removed the archives that `fetch.py`
   uses in 2026; the download stage gets the single images from its public bucket.
2. ROCOv2, radiology only: see `rocov2.py`.

Known irregularities of the published files, which the miniature reproduces:

- Captions start with a space. Some are one word ("CT.") or continue on a line without an id. The miniature has one
  empty caption, which is rejected.
- The second field of keywords, cuis and semtypes is always empty. Some records have no concepts.
- Some records are missing from `licences.txt`. Many have "NO-CC CODE", a license without derivatives or a
  non-commercial license. Each sample has its own.
- Images are named by ROCO id (`fetch.py` since 2022) or `PMC<article>_<figure>.jpg` (earlier, and Kaggle's copy).
- Two thirds of the articles in the test split are also in train; see `groups.article`.
- Some images are no longer available.
"""

import logging
import re
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path

from openmedq.datasets.card import Access, Card, Edition, LinkedImage, pinned
from openmedq.datasets.fields import join_texts, keep, list_absent, take_optional_text
from openmedq.datasets.licences import spell
from openmedq.datasets.readers import not_found, use_first, warn_absent
from openmedq.datasets.readers.tables import Row, stream_lines
from openmedq.datasets.roco import rocov2
from openmedq.datasets.roco.captions import Described, lines_beside, read_captions, stream_captions, table_beside
from openmedq.schema import Rejected, Role, Sample, Task
from openmedq.storage.fetched import LINKED_IMAGES, FetchedImages
from openmedq.storage.folders import walk
from openmedq.storage.lookup import ChainedImages, open_images

SPLITS = ("train", "validation", "test")
SUBSETS = {"radiology": "radiology", "non-radiology": "mixed"}  # folder -> modality
CONCEPTS = ("keywords", "cuis", "semtypes")
FILES = ("captions", *CONCEPTS, "dlinks", "licences")

_PINS = {  # size in bytes and sha256; unknown for the largest lists
    "train/radiology/licences": (3_461_143, "a6e44c43415319b04a7819b38217200642a8b8c316b339b92f039d96786e4c26"),
    "train/non-radiology/captions": (840_829, "d7017d2fb6ec51f938f5f175426482b65837699e53c8f0e0f420e70879fd81cf"),
    "train/non-radiology/keywords": (474_822, "1ff79aef589acad4109d55d478df3181ad07eaceab87955907719171febf1246"),
    "train/non-radiology/cuis": (359_763, "3e4fdb7ae03a618cc90a5c4756fe180b06783b86497b6b159620b9b4f807c608"),
    "train/non-radiology/semtypes": (673_018, "1b932fd7cc2079fb19fc386cd961b7588541af258093645ef991d4e303f9bf80"),
    "train/non-radiology/dlinks": (623_536, "2b4f7fb20d8f7115f85ab41ab5ef47045966726687d29cba8c116dabd0793422"),
    "train/non-radiology/licences": (259_926, "beae97734a7301b982cff30308054f55c402858af8dab97385d3532da910884b"),
    "validation/radiology/captions": (1_227_664, "da83324afa6add202456aba69fde8b0640a3991bc70cbd9e02e4077e792d572c"),
    "validation/radiology/keywords": (779_956, "3094c0c05c98f03a9550ba0e3252d2f4d9b7160e50cc9bb597018cc0708008f3"),
    "validation/radiology/cuis": (733_083, "e2e4ba82308012d7b0b828323a89abc973797af127fce5372c8d77985b51cd80"),
    "validation/radiology/semtypes": (1_393_015, "d3edc7fed47367c10da14de87df4cb824fc4d9896c673fb6b44113ceb812d07a"),
    "validation/radiology/dlinks": (1_039_710, "ba1bc746ee89e78f146efd853595aabe3e4ecf05cdff417c20b2556291bff9e1"),
    "validation/radiology/licences": (433_551, "15190c2a86c204f99e8bc5800d680c8cbf8967213507642678c01fb35130299a"),
    "validation/non-radiology/captions": (100_456, "8792c4df76ee90dfa017e47659ee7bfb23308f6eeeb6c4450698a6cbee3cce89"),
    "validation/non-radiology/keywords": (57_428, "7efec918cb0b0687893cedb161cf53e559aab83b00e71b3f45445a093f03e7f1"),
    "validation/non-radiology/cuis": (42_864, "8c30b25b81d27c4bee9229fad5dae768ce19b2fc3810ae283885f6fffa0f4e6e"),
    "validation/non-radiology/semtypes": (81_785, "c415eb8a207a69155c5ff97817853c9ac214ee19e4a21e864729d6d8d7445e68"),
    "validation/non-radiology/dlinks": (77_871, "d8952643927d3578900f2fb54bcb63b1c838e1d3cf6d90ecd446fa0141dea9e3"),
    "validation/non-radiology/licences": (32_539, "1bc124f41df4a3c17dbe8096e926fa3903b6824ad98614b169e16e74a992abfd"),
    "test/radiology/captions": (1_251_805, "f69b73e3daac45b89e285ba8028207c96baf0a3a22ebe90d7a0480458690225a"),
    "test/radiology/keywords": (789_101, "0553ee33f28d2e8241449a600bf7bbf5f40ba2cae63c17fb501928459bbfcecb"),
    "test/radiology/cuis": (740_469, "ee0024b3bdb0c76dc59e4d41026a68ae5b734503be595f4b8007c141c2acfbce"),
    "test/radiology/semtypes": (1_395_668, "02b374a664c352967589fc9d7ddf486ed6f06c6499293429e04425d588d18cfb"),
    "test/radiology/dlinks": (1_038_587, "492ca4c4399b8a8792860016e0864bf42bcbbb89edb7b1aa59e077df822f1ce7"),
    "test/radiology/licences": (432_311, "992f037378fd7107e12c673f2d06898d852bb5c77b2d927fc336d187d2282421"),
    "test/non-radiology/captions": (107_696, "00558fde13ed76677127d14dace4d92f060a5b804fcb70257a600e6278aed84a"),
    "test/non-radiology/keywords": (61_211, "f348ec1a1d5ce39fc688c833040ffdb3f5b945d9aaee83039ee0476686aad02e"),
    "test/non-radiology/cuis": (46_314, "a168ff8c03c5366eea928a593b06f7da4dad6763be4f9ca5c3cb40ae7524e33e"),
    "test/non-radiology/semtypes": (86_868, "2f1eaaeaa162fbfd740729c168ce5b96826769ef531728465bd1e989281b0d32"),
    "test/non-radiology/dlinks": (78_141, "692835c96a7a41d791e0f3e9abb424ad4656556e0c7fcefc5794b3156f4e70e3"),
    "test/non-radiology/licences": (32_663, "cda234d52fcb32aa13f5d1873fb7cee09d807947ff64dbc2bb308b0efe4bf77c"),
}

card = Card(
    id="roco",
    title="ROCO",
    aliases=("razorx89/roco-dataset", "virajbagal/roco-dataset", "ROCOv2", "ROCOv2-radiology", "8333645", "10821435"),
    homepage="https://github.com/razorx89/roco-dataset",
    citation="Pelka et al., Radiology Objects in COntext (ROCO): A Multimodal Image Dataset, LABELS 2018",
    licence="per picture: the Creative Commons licence of its article, or none",
    has_row_licences=True,
    access=Access.DEAD_WITH_MIRROR,  # the linked archives are gone; the single images are available
    task=Task.CAPTION,
    modality="mixed",
    files=pinned(
        "https://raw.githubusercontent.com/razorx89/roco-dataset/a1f0ad6c578ca8801e5a6eccc90af051aee1c326",
        {
            f"data/{part}.txt": _PINS.get(part, (None, None))
            for part in ("/".join(names) for names in product(SPLITS, SUBSETS, FILES))
        },
    ),
    linked_bytes=7_000_000_000,
    editions={"v2": Edition(files=rocov2.FILES, about_bytes=6_400_000_000)},
    # The paper evaluates on other datasets, so the test split is a second validation split. It is never trained on.
    roles={"train": Role.TRAIN, "validation": Role.VALIDATION, "test": Role.VALIDATION},
    published_rows={"train": 70_343, "validation": 8_791, "test": 8_791},  # both subsets
)

_IMAGE = re.compile(r"(PMC\d+)_([^/\\]+)\.\w+")
_ID = re.compile(r"ROCO_[0-9]+")
_LINK = re.compile(r"(PMC\d+)\.tar\.gz", re.ASCII)

_log = logging.getLogger(__name__)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the pairs. SourceError if neither layout is present or a file has an unknown format."""
    folders = [folder for folder, _, _ in walk(raw, 4)]
    first = [folder for folder in folders if _find_parts(folder)]
    second = [folder for folder in folders if rocov2.find_tables(folder)]
    if not first and not second:
        path = card.files[0].path
        raise not_found(card, raw, f"`{path}` or similar")
    used = use_first([*first, *second])
    present = {path.parts[-3] for path in _find_parts(used)} if first else rocov2.find_tables(used).keys()
    for split in SPLITS:
        if split not in present:
            name = f"data/{split}/radiology/captions.txt" if first else rocov2.name_table(split)
            warn_absent(card.id, name, split)
    if first:
        yield from _read_parts(raw, used)
    else:
        yield from rocov2.read_tables(raw, used, card)


def _find_parts(folder: Path) -> list[Path]:
    """The caption files of ROCO's parts."""
    parts = (folder / split / subset / "captions.txt" for split, subset in product(SPLITS, SUBSETS))
    return [path for path in parts if path.is_file()]


def _read_parts(raw: Path, folder: Path) -> Iterator[Sample | Rejected]:
    seen: dict[str, str] = {}  # 88,000 ids
    fetched = FetchedImages(raw / LINKED_IMAGES)
    for split, subset in product(SPLITS, SUBSETS):
        part = folder / split / subset
        tables = {name: lines_beside(part / f"{name}.txt") for name in (*CONCEPTS, "dlinks")}
        licences = table_beside(part / "licences.txt", "ROCO_ID", "PMC_ID", "CC")
        path = part / "captions.txt"
        if path.is_file():
            with open_images(part, "images", "images.zip", ".") as images:
                yield from read_captions(
                    card,
                    stream_captions(path, "ROCO_"),
                    split=split,
                    modality=SUBSETS[subset],
                    raw=raw,
                    path=path,
                    images=ChainedImages((images, fetched)),
                    describe=partial(_describe, subset, tables, licences),
                    seen=seen,
                )
        for name, record_ids in (*((name, [*table]) for name, table in tables.items()), ("licences", [*licences])):
            absent = [record_id for record_id in record_ids if _ID.fullmatch(record_id) and record_id not in seen]
            seen |= dict.fromkeys(absent, split)
            yield from list_absent(card, absent, split=split, raw=raw, path=part / f"{name}.txt")


def linked_images(raw: Path) -> Iterator[LinkedImage]:
    """The images that the lists below `raw` link to, in their order, with the names under which `read` finds them."""
    for part in (raw / "data" / split / subset for split in SPLITS for subset in SUBSETS):
        num_invalid = 0
        for _, line in stream_lines(part / "dlinks.txt"):
            link, _, figure = line.rpartition("\t")
            article = _LINK.search(link)
            image = _IMAGE.fullmatch(f"{article[1]}_{figure}") if article and figure.isprintable() else None
            if image:
                yield LinkedImage(image[0], image[1], figure)
            num_invalid += image is None
        if num_invalid:
            _log.info("%s: %d lines without a valid link; their rows have no image", part / "dlinks.txt", num_invalid)


def _describe(subset: str, tables: dict[str, dict[str, str]], licences: dict[str, Row], record_id: str) -> Described:
    fields = {name: table.get(record_id, "") for name, table in tables.items()} | licences.get(record_id, {})
    link, _, figure = take_optional_text(fields, "dlinks").rpartition("\t")
    article = _LINK.search(link)
    names = (take_optional_text(fields, "PMC_ID"), f"{article[1]}_{figure}" if article else "")
    known = next(filter(None, map(_IMAGE.fullmatch, names)), None)
    return Described(
        names=(*([known[0]] if known else []), f"{record_id}.jpg"),
        licence=spell(take_optional_text(fields, "CC")) or card.licence,
        article=known[1] if known else "",
        attributes=keep(
            subset=subset,
            figure=known[2] if known else "",
            **{name: join_texts(take_optional_text(fields, name).split("\t")) for name in CONCEPTS},
        ),
    )
