"""Paths of inputs and outputs, relative to the project's root; a test compares them with `dvc.yaml`."""

from pathlib import Path

PARAMS = Path("params.yaml")
CONF = Path(__file__).with_name("conf")  # profiles: package data, so that an installed package has them
CATALOGUE = Path("data/catalogue.yaml")
FORGOTTEN = Path("data/forgotten.yaml")  # in git: digests of ids that are excluded by request
SALT = Path("data/local-salt")  # key of the pseudonyms in local datasets; git ignores it
LEDGER = Path("data/ledger")  # in git: <id>.yaml, size and hash of each file at its first download
DVC_LOCK = Path("dvc.lock")

MINIATURE = Path("data/miniature")  # <id>/: generated files in the dataset's published layout
MANIFEST = Path("data/manifest")  # <id>.json: the files of each dataset in the local data folder
RAW = Path("data/raw")  # <id>/origin.json: paths and hashes of the published files; files/: the fetched ones
SAMPLES = Path("data/samples")  # <id>/shard-*.parquet, rejected.parquet, counts.json
VERDICTS = Path("data/verdicts")  # verdicts.parquet, clean.parquet, pairs.parquet, counts
MIX = Path("data/mix")  # index.parquet, waterfall.json
VALIDATION = Path("data/validation")  # verdict.json
DATA_DOCS = Path("data/docs")  # Great Expectations' pages; no stage depends on them
MODEL = Path("data/model")  # a folder that transformers loads
ADAPTER = "adapter"  # folder in MODEL: the same as an adapter, if the language model is a published one
TRAINING = Path("data/training")  # metrics.json, loss.csv
EVALUATION = Path("data/evaluation")  # predictions.parquet, controls.parquet, metrics.json
TRANSFER = Path("data/transfer")  # <encoder>/predictions.parquet, metrics.json
REPORT = Path("data/report")  # index.html, report.md with figures/, model_card.md
TIMINGS = Path("data/timings")  # <node>.json: wall time of the stages on a device; no DVC output
CHECKPOINTS = Path("data/checkpoints")  # <training>/<name>/, until DVC has the model; no DVC output: it removes them
FINISHED = "*/finished"  # in CHECKPOINTS: the md5 of the losses of a training whose model is written
PARTS = Path("data/parts")  # pretrained parts of the profile `small`

PARTIAL = Path("data/.partial")  # unfinished outputs, never read; locks, caches, what waits for MLflow


def hide_folders(path: str) -> str:
    """Return a path, or a Hugging Face id, to publish: of a path outside the project only its last part."""
    return Path(path).name if Path(path).is_absolute() or ".." in Path(path).parts else path
