"""The table of stages. The CLI, the checks of inputs, MLflow's artifacts and Prefect's retries are read from it.

A stage's name is also its DVC node, its command and its section of params.yaml. `module` is imported when the stage
runs; its `run` takes the params, then the dataset (`is_per_dataset`) or the encoder's name (`is_per_encoder`), then the
function that logs metrics (`is_tracked`).
"""

from dataclasses import dataclass
from pathlib import Path

from openmedq import paths


@dataclass(frozen=True, slots=True)
class Stage:
    """One row of the table."""

    name: str
    help: str
    module: str
    is_per_dataset: bool = False
    is_per_encoder: bool = False
    is_tracked: bool = False  # belongs to an MLflow run, that of data/model: of the encoders only `ours` does
    is_parallel: bool = False  # runs as one process per device
    inputs: tuple[Path, ...] = ()  # must exist when the stage is run by hand
    artifacts: tuple[Path, ...] = ()  # logged to the MLflow run when the stage has succeeded
    retry_delays_s: tuple[float, ...] = ()  # the wait before each of Prefect's retries
    slot: str | None = None  # Prefect concurrency limit that the stage occupies


_INDEX = paths.MIX / "index.parquet"
_VERDICTS = paths.VERDICTS / "verdicts.parquet"

STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "miniature",
            "write a small generated dataset in its published layout",
            "openmedq.synthetic",
            is_per_dataset=True,
        ),
        Stage("manifest", "list and hash the files of the local data folder", "openmedq.fetch.manifest"),
        Stage(
            "download",
            "record paths and hashes of the published files; fetch missing ones if download.fetch is set",
            "openmedq.fetch.download",
            is_per_dataset=True,
            retry_delays_s=(10, 60, 300),
        ),
        Stage(
            "normalize",
            "read the published files into Parquet shards",
            "openmedq.curate.normalize",
            is_per_dataset=True,
        ),
        Stage(
            "deduplicate",
            "find duplicates, and training rows that repeat evaluation rows",
            "openmedq.curate.deduplicate",
        ),
        Stage(
            "mix",
            "write the index of the selected rows, with role and weight",
            "openmedq.curate.mix",
            inputs=(_VERDICTS,),
        ),
        Stage(
            "validate",
            "check the data against expectations; stop the graph if one fails",
            "openmedq.curate.validate",
            inputs=(_VERDICTS, _INDEX),
        ),
        Stage(
            "train",
            "train the encoder, the projector and the adapters",
            "openmedq.training.train",
            is_tracked=True,
            is_parallel=True,
            inputs=(_INDEX, paths.VALIDATION / "verdict.json"),
            artifacts=(
                paths.TRAINING / "metrics.json",
                paths.TRAINING / "loss.csv",
                paths.VALIDATION / "verdict.json",
                paths.MIX / "waterfall.json",
            ),
            slot="gpu",
        ),
        Stage(
            "evaluate",
            "generate answers to the evaluation splits and score them",
            "openmedq.evaluation.evaluate",
            is_tracked=True,
            is_parallel=True,
            inputs=(_VERDICTS.with_name("clean.parquet"), _INDEX, paths.MODEL),
            artifacts=(paths.EVALUATION / "metrics.json",),
            slot="gpu",
        ),
        Stage(
            "transfer",
            "fine-tune an encoder on unseen classification datasets",
            "openmedq.evaluation.transfer",
            is_per_encoder=True,
            is_tracked=True,
            inputs=(_INDEX, paths.MODEL),
            artifacts=(paths.TRANSFER / "ours" / "metrics.json",),
            slot="gpu",
        ),
        Stage(
            "report",
            "write one page with scores, intervals and the waterfall, and the model card",
            "openmedq.reporting.report",
            is_tracked=True,
            inputs=(paths.MIX / "waterfall.json", paths.MODEL),
            artifacts=(paths.REPORT,),
        ),
    )
}
