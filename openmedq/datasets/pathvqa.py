"""PathVQA: questions about pathology images from two textbooks and the PEIR library (He et al., 2020).

Source: https://huggingface.co/datasets/flaviagiammarino/path-vqa

Layout, in any subfolder: `data/{train,validation,test}-*.parquet` in 7, 3 and 3 shards, with the columns image {bytes,
path}, question and answer. The hub's conversion, `default/<split>/0000.parquet`, is also read. A sample id consists of
the split and the row's number in the split, starting at 1. The original release, whose test split differs, is not read.

Known irregularities of the published files, which the miniature reproduces:

- `path` may be empty and is not unique, so the bytes identify an image.
- The questions about one image are spread over several shards, and each row repeats the image.
- Images are JPEG in CMYK (inverted, with the Adobe marker), RGB or grayscale. Some PNG images have a .jpg name.
- Rules generated the questions, in lower case. Some have extra spaces, a capital letter or "??".
"""

from collections.abc import Iterator
from pathlib import Path

from openmedq.datasets.card import Access, Card, pinned
from openmedq.datasets.readers import list_files, not_found
from openmedq.datasets.readers.hub_shards import find_shards, read_shards
from openmedq.schema import Rejected, Role, Sample, Task

_HUB = "https://huggingface.co/datasets/flaviagiammarino/path-vqa"
_COMMIT = "1685832883334b5bb5beaf4e4b333fdeecaa4ad9"
SHARDS = {  # name -> sha256, if known
    "train-00000-of-00007-f2d0e9ef9f022d38": None,
    "train-00001-of-00007-47d8e0220bf6c933": None,
    "train-00002-of-00007-7fb5037c4c5da7be": None,
    "train-00003-of-00007-74b9b7b81cc55f90": None,
    "train-00004-of-00007-77eea90af4a55dce": None,
    "train-00005-of-00007-5332ec423be520bd": None,
    "train-00006-of-00007-637a58c700b604af": None,
    "validation-00000-of-00003-90a5518d26493b67": None,
    "validation-00001-of-00003-cbfe947a3418595c": None,
    "validation-00002-of-00003-9ec816895bd3bc20": None,
    "test-00000-of-00003-e9adadb4799f44d3": "533175be08e87b9ccf2fc06e2f82e58bb2e9bf2299a4a138cf5311f1d26ac157",
    "test-00001-of-00003-7ea98873fc919813": "84bde926245c4b136de6ef48b197a0f3f177b3fbcb03b7f3cbfcfcb212f20c50",
    "test-00002-of-00003-1628308435019820": "ae676f41a7ddfc85be8503a731c719e1608da37ddc981de42a10dd2d55a8ee87",
}

card = Card(
    id="pathvqa",
    title="PathVQA",
    aliases=("flaviagiammarino/path-vqa", "UCSD-AI4H/PathVQA", "KaveeshaSilva/PathVQA", "pvqa"),
    homepage=_HUB,
    citation="He et al., PathVQA: 30000+ Questions for Medical Visual Question Answering, 2020",
    licence="MIT by the tag of this copy; its pictures and captions belong to the textbooks' publishers and to PEIR",
    access=Access.OPEN,
    task=Task.VQA,
    modality="pathology",
    files=pinned(
        f"{_HUB}/resolve/{_COMMIT}", {f"data/{name}.parquet": (None, sha256) for name, sha256 in SHARDS.items()}
    ),
    about_bytes=785_000_000,
    roles={"train": Role.TRAIN, "validation": Role.VALIDATION, "test": Role.EVALUATION},
    published_rows={"train": 19_654, "validation": 6_259, "test": 6_719},
)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the questions. SourceError if no split is present or a file is truncated or damaged."""
    shards = find_shards(list_files(raw), card.roles)
    if not shards:
        raise not_found(card, raw, "`data/train-*.parquet`")
    return read_shards(card, raw, shards)
