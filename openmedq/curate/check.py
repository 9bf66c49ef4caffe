"""`check`: try a dataset's reader on a folder, images included, without writing anything."""

import time
from collections.abc import Iterator
from pathlib import Path

from openmedq import config, paths
from openmedq.config import Normalize, Params
from openmedq.curate.normalize import Counts, no_records, rows
from openmedq.datasets import registry
from openmedq.datasets.card import Dataset
from openmedq.datasets.local.local import LocalDataset, make_card
from openmedq.errors import ParamsError, SourceError, numbered, printable
from openmedq.schema import EncodedImage, Image, Reason, Rejected, Sample
from openmedq.storage.decoding import Inline
from openmedq.storage.progress import progress
from openmedq.storage.redact import redact_paths

NUM_SHOWN = 3  # samples


def run(dataset_id: str | None, raw: Path | None, local: str | None) -> None:
    """Print what the reader of a dataset finds in the folder `raw`, or that of a local dataset in its own folder.

    Raises:
        ParamsError: the arguments are neither, or the local dataset is not declared.
        SourceError: the folder has no record of the dataset.
    """
    if local is not None and (dataset_id, raw) == (None, None):
        params = config.load(paths.PARAMS)
        dataset: Dataset = load_declared(local, params)
        raw, settings = Path(params.local[local].folder), params.normalize
    elif local is None and dataset_id is not None and raw is not None:
        if not raw.is_dir():
            raise SourceError(
                f"{raw}: no such folder; set --raw to the folder with the published files of {dataset_id}"
            )
        dataset = registry.load(dataset_id)
        settings = config.load(paths.PARAMS).normalize if paths.PARAMS.exists() else Normalize()
    else:
        raise ParamsError("check: give a dataset's ID and --raw DIR, or --local NAME alone")
    print(printable("\n".join(summarize(dataset, raw, settings))))


def load_declared(name: str, params: Params) -> LocalDataset:
    """The declared local dataset, which need not be in the catalogue; ParamsError if no declaration has this name."""
    if name not in params.local:
        known = ", ".join(params.local) or "none"
        raise ParamsError(
            f"params.yaml: local: no dataset {name!r}; there are {known}; declare it as in docs/how-to/own-data.md"
        )
    folder = Path(params.local[name].folder)
    if not folder.is_dir():
        raise ParamsError(f"params.yaml: local.{name}.folder: no folder {folder}; correct the path")
    return LocalDataset(make_card(name, params.local[name]))


def summarize(dataset: Dataset, raw: Path, settings: Normalize) -> Iterator[str]:
    """Counts, an example of each reason of rejection, and the first samples, as lines.

    Records of a credentialed dataset are not shown; those of a private local one are, because they are shown to their
    owner.
    """
    dataset_id = dataset.card.id
    is_shown = isinstance(dataset, LocalDataset) or not dataset.card.is_credentialed
    start = time.monotonic()
    counts = Counts()
    first: list[Sample] = []
    examples: dict[str, Rejected] = {}
    with redact_paths(dataset_id, not is_shown), progress(f"reading {dataset_id}", None) as advance:
        for item in rows(dataset, raw, settings, Inline()):
            counts.add(item)
            advance(1)
            if isinstance(item, Rejected):
                examples.setdefault(str(item.reason), item)
            elif len(first) < NUM_SHOWN:
                first.append(item)
    if not counts.found:
        raise no_records(dataset_id, raw)
    yield f"{dataset_id}: {numbered(counts.read, 'row')}, {numbered(len(counts.image_ids), 'distinct image')}"
    yield from (f"  {split}: {num_rows}" for split, num_rows in sorted(counts.splits.items()))
    for reason, num_rows in sorted(counts.rejected.items()):
        yield f"  rejected, {reason}: {num_rows}"
        if is_shown:
            yield f"    such as {_describe(examples[reason], raw)}"
    for sample in first if is_shown else ():
        yield f"first: {sample.id} ({sample.provenance.file}, {sample.provenance.record}), split {sample.split}"
        for turn in sample.turns:
            texts = (turn.context, turn.question, " | ".join(turn.options), turn.answer)
            names = ("context", "Q", "options", "A")
            yield from (f"  {name}: {_shorten(text)}" for name, text in zip(names, texts, strict=True) if text)
        yield from (f"  image: {_describe_image(image)}" for image in sample.images)
    yield f"{time.monotonic() - start:.1f} s"


def _describe(row: Rejected, raw: Path) -> str:
    searched = f"; looked in {raw}" if row.reason is Reason.IMAGE_MISSING else ""
    where = f"{raw / row.provenance.file}, {row.provenance.record}"
    return " ".join(f"{row.id} ({where}): {row.detail}{searched}".split())


def _describe_image(image: Image) -> str:
    size = f", {image.width} x {image.height} px" if isinstance(image, EncodedImage) else ""
    return f"{image.image_id}{size}"


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:99]}…"
