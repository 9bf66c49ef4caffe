"""Images per second of the training's data path beside other ways to read the same images, in one run.

The images of a folder are encoded as the stage `normalize` does, repeated to `--images`, and written as shards, as
plain files, as tar files of WebDataset, and as a Hugging Face dataset. Each way reads all of them once in random order,
with 2 processes, in batches of 64 images of (3, S, S) uint8:

    imdecode            the limit: `cv2.imdecode` of bytes in memory at the same reduction; no resize, no batches
    openmedq            shards in the training's order through its loader, images alone
    openmedq, text      the same with the tokens of a question and an answer per image, as in training
    pillow              plain files, Pillow, bicubic
    opencv area         plain files, OpenCV, INTER_AREA: no aliasing, twice as blurred as bicubic
    opencv linear       plain files, OpenCV, INTER_LINEAR: the fastest, with aliasing
    webdataset          tar files, Pillow, bicubic, a shuffle buffer
    datasets            Hugging Face `datasets`, map-style, Pillow, bicubic

The median of the rounds counts. The time is from the fifth batch on, so that the start of the processes is left out.
"""

import argparse
import io
import itertools
import json
import multiprocessing
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import apart
import cv2
import mix
import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from openmedq.config import Normalize
from openmedq.model.pixels import decode
from openmedq.schema import Turn
from openmedq.storage.images import encode
from openmedq.storage.shards import ShardStore
from openmedq.training.data import EncodedRows, Row
from openmedq.training.loader import load
from openmedq.training.order import Order

WORKERS, BATCH, SKIPPED = 2, 64, 4
BICUBIC = PIL.Image.Resampling.BICUBIC
NUM_TARS = 4
TURN = Turn("Is there evidence of a pleural effusion on the left side?", "No, the left side is clear.")  # of each image


def main() -> None:
    """Measure all ways and print a table; with `--one`, measure one way and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of JPEG and PNG files, which may lie in subfolders")
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.images < (fewest := (SKIPPED + 1) * BATCH):
        parser.error(f"--images: at least {fewest}, because the first {SKIPPED} batches of {BATCH} are not measured")
    if arguments.one:
        print(json.dumps({"images_per_s": measure(WAYS[arguments.one](arguments.folder, arguments.side))}))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(prepare(arguments.folder, arguments.images, folder), flush=True)
        speeds: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(arguments.rounds):
            for way, each in speeds.items():
                found = apart.run(__file__, way, name, "--side", arguments.side, OMP_NUM_THREADS="1", HF_HOME=name)
                each.append(found["images_per_s"])
    limit = statistics.median(speeds["imdecode"])
    print(f"{'way':<16}{'images/s':>9}{'minimum':>9}{'maximum':>9}{'of the limit':>14}")
    for way, each in speeds.items():
        print(f"{way:<16}{apart.summarize(each, '.0f')}{statistics.median(each) / limit:>14.2f}")


def prepare(published: Path, num_images: int, folder: Path) -> str:
    """Write the images in all forms; return a line about them."""
    import datasets

    datasets.disable_progress_bars()
    files = sorted(path for path in published.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not files:
        raise SystemExit(f"error: {published}: no JPEG or PNG file")
    images = [encode(path.read_bytes(), Normalize()) for path in files]
    shown = list(itertools.islice(itertools.cycle(images), num_images))
    (folder / "shards" / "bench").mkdir(parents=True)
    samples = (mix.make_sample(number, TURN, image) for number, image in enumerate(shown))
    ShardStore(folder / "shards" / "bench").write(samples, Normalize())
    (folder / "files").mkdir()
    paths = [folder / "files" / f"{number:06}.img" for number in range(num_images)]
    for path, image in zip(paths, shown, strict=True):
        path.write_bytes(image.data)
    for number in range(NUM_TARS):
        with tarfile.open(folder / f"images-{number}.tar", "w") as tar:
            for path, image in itertools.islice(zip(paths, shown, strict=True), number, None, NUM_TARS):
                entry = tarfile.TarInfo(path.stem + (".png" if image.data[1:4] == b"PNG" else ".jpg"))
                entry.size = len(image.data)
                tar.addfile(entry, io.BytesIO(image.data))
    features = datasets.Features({"image": datasets.Image()})
    column = [{"bytes": each.data, "path": None} for each in shown]
    datasets.Dataset.from_dict({"image": column}, features).save_to_disk(folder / "datasets")
    kilobytes = statistics.mean(len(image.data) for image in images) / 1000
    megapixels = statistics.mean(image.width * image.height for image in images) / 1e6
    num_gray = sum(PIL.Image.open(io.BytesIO(image.data)).mode == "L" for image in images)
    return f"{len(images)} images, {num_gray} gray, {megapixels:.2f} megapixels and {kilobytes:.0f} kB on average"


def measure(batches: Iterable[int]) -> float:
    """Images per second after the first batches, whose sizes are given."""
    counts: list[int] = []
    start = end = 0.0
    for count in batches:
        end = time.perf_counter()
        start = end if len(counts) < SKIPPED else start
        counts.append(count)
    return sum(counts[SKIPPED:]) / (end - start)


def read_shards(folder: Path, side_px: int, *, with_text: bool) -> Iterator[int]:
    """The training's own path."""
    index = mix.read_index(folder / "shards")
    samples = mix.open_rows(folder / "shards", index, WORKERS, folder / "rows.npy")
    dataset = (EncodedRows if with_text else Images)(samples, make_processor(side_px), 196, 512)
    order = Order(np.ones(len(index), np.float32), index["row_group"].to_numpy(), 0, BATCH)
    jobs = order.updates(0, order.count_updates(1, None))
    for _, encoded in load(dataset, jobs, lambda job: np.full(len(job.rows), np.nan, np.float32), WORKERS):
        yield sum(len(row.pixels) for row in encoded)


class Images(EncodedRows):
    """Rows without text."""

    def _read(self, number: int) -> Row:
        none = torch.zeros(0, dtype=torch.int64)
        pixels = [decode(image, self._side_px, self._resample) for image in self._samples[number].images]
        return Row(number, none, none, pixels, False)


def make_processor(side_px: int) -> Any:
    """The processor of the profile `paper`, with a tokenizer of a few words."""
    from openmedq import paths
    from openmedq.config import profile
    from openmedq.model import language
    from openmedq.model.model import build_processor

    vision = profile(Path(__file__).parents[1] / paths.CONF, "paper").train.vision
    tokenizer = language.complete(language.train_tokenizer([f"{TURN.question} {TURN.answer}"], 320))
    return build_processor(tokenizer, vision.model_copy(update={"image_size_px": side_px}))


class Files(Dataset[Tensor]):
    """Plain files, read by a function of path and side."""

    def __init__(self, folder: Path, side_px: int, read: Callable[[Path, int], Tensor]) -> None:
        self._paths, self._side_px, self._read = sorted((folder / "files").iterdir()), side_px, read

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> Tensor:
        return self._read(self._paths[number], self._side_px)


def prepare_pil(image: PIL.Image.Image, side_px: int) -> Tensor:
    """As the saved processor does, except that gray images are converted after the resize."""
    pixels = np.array(image.resize((side_px, side_px), BICUBIC).convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def read_pillow(path: Path, side_px: int) -> Tensor:
    """A file through Pillow."""
    with PIL.Image.open(path) as image:
        return prepare_pil(image, side_px)


def read_opencv(path: Path, side_px: int, *, interpolation: int) -> Tensor:
    """A file through OpenCV."""
    decoded = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    assert decoded is not None, path
    pixels = cv2.resize(decoded, (side_px, side_px), interpolation=interpolation)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def read_files(folder: Path, side_px: int, read: Callable[[Path, int], Tensor]) -> Iterator[int]:
    """Plain files."""
    loader = DataLoader(Files(folder, side_px, read), BATCH, shuffle=True, num_workers=WORKERS)
    return (len(batch) for batch in loader)


def read_webdataset(folder: Path, side_px: int) -> Iterator[int]:
    """Tar files."""
    import webdataset

    tars = sorted(map(str, folder.glob("images-*.tar")))
    data = webdataset.WebDataset(tars, shardshuffle=NUM_TARS, nodesplitter=None).shuffle(500).decode("pil")
    images = data.to_tuple("jpg;png").map_tuple(lambda image: prepare_pil(image, side_px)).batched(BATCH)
    return (len(batch[0]) for batch in DataLoader(images, batch_size=None, num_workers=WORKERS))


def read_datasets(folder: Path, side_px: int) -> Iterator[int]:
    """Hugging Face datasets, map-style."""
    import datasets

    table = datasets.load_from_disk(folder / "datasets")
    table.set_transform(lambda rows: {"image": [prepare_pil(image, side_px) for image in rows["image"]]})
    loader: DataLoader[Any] = DataLoader(table, BATCH, shuffle=True, num_workers=WORKERS)
    return (len(batch["image"]) for batch in loader)


_encoded: list[tuple[Any, int]] = []  # bytes and flags, which the processes of the limit inherit


def read_limit(folder: Path, side_px: int) -> Iterator[int]:
    """The decoder alone, in as many processes; yields the images of all processes at once."""
    from openmedq.model import pixels

    for path in sorted((folder / "files").iterdir()):
        data = path.read_bytes()
        with PIL.Image.open(io.BytesIO(data)) as header:
            reduction = pixels._find_reduction(header, side_px)
            _encoded.append((np.frombuffer(data, np.uint8), pixels._GRAY[reduction] | pixels._COLOR[header.mode]))
    with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
        pool.map(_decode, range(50 * WORKERS), chunksize=50)  # starts them
        yield from [0] * SKIPPED
        pool.map(_decode, range(len(_encoded)), chunksize=BATCH)
        yield len(_encoded)


def _decode(number: int) -> None:
    cv2.imdecode(*_encoded[number])


WAYS: dict[str, Callable[[Path, int], Iterable[int]]] = {
    "imdecode": read_limit,
    "openmedq": partial(read_shards, with_text=False),
    "openmedq, text": partial(read_shards, with_text=True),
    "pillow": partial(read_files, read=read_pillow),
    "opencv area": partial(read_files, read=partial(read_opencv, interpolation=cv2.INTER_AREA)),
    "opencv linear": partial(read_files, read=partial(read_opencv, interpolation=cv2.INTER_LINEAR)),
    "webdataset": read_webdataset,
    "datasets": read_datasets,
}

if __name__ == "__main__":
    main()
