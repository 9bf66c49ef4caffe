"""Where things lie, relative to the project's root. `dvc.yaml` names the same paths; a test holds the two together."""

from pathlib import Path

PARAMS = Path("params.yaml")
CONF = Path(__file__).with_name("conf")  # profiles: package data, so that an installed package has them
CATALOGUE = Path("data/catalogue.yaml")
FORGOTTEN = Path("data/forgotten.yaml")  # in git: what is never used again, by digest
LEDGER = Path("data/ledger")  # in git: <id>.yaml, what was found at the first download of each file
DVC_LOCK = Path("dvc.lock")

MINIATURE = Path("data/miniature")  # <id>/: generated files in the set's own layout
MANIFEST = Path("data/manifest")  # <id>.json: files of the local data folder, with size and sha256, by dataset
RAW = Path("data/raw")  # <id>/origin.json: where the published files lie, with their hashes; files/: what was fetched
SAMPLES = Path("data/samples")  # <id>/shard-*.parquet, rejected.parquet, counts.json
VERDICTS = Path("data/verdicts")  # verdicts.parquet, counts.json
MIX = Path("data/mix")  # index.parquet, waterfall.json
VALIDATION = Path("data/validation")  # verdict.json
DATA_DOCS = Path("data/docs")  # Great Expectations' pages; nothing depends on them
MODEL = Path("data/model")  # a folder that transformers loads
TRAINING = Path("data/training")  # metrics.json, loss.csv
RUN = Path("data/run.json")  # the MLflow run of the training; nothing depends on it
EVALUATION = Path("data/evaluation")  # predictions.parquet, metrics.json
TRANSFER = Path("data/transfer")  # predictions.parquet, metrics.json
REPORT = Path("data/report")  # index.html
PARTS = Path("data/parts")  # pretrained parts of the small profile

PARTIAL = Path("data/.partial")  # unfinished outputs and their locks; never read
