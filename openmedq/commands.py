"""The commands that need more than a call of another package. They import the code that they need when they run."""

from __future__ import annotations

import dataclasses
import importlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from openmedq import paths
from openmedq.errors import ParamsError, StaleError, numbered
from openmedq.stages import STAGES

if TYPE_CHECKING:
    from openmedq.config import Params

_log = logging.getLogger(__name__)


def run_stage(stage: str, dataset_id: str | None = None, encoder: str | None = None) -> int:
    """Run a stage with the settings of params.yaml; return the status of its processes."""
    from openmedq.config import OURS
    from openmedq.storage.processes import die_with_dvc, die_with_parent

    if "DVC_STAGE" in os.environ:  # without DVC, a running stage would keep the lock on its output
        die_with_dvc()
    elif "TORCHELASTIC_RUN_ID" in os.environ:  # one of several processes: not without their launcher
        die_with_parent()
    params = _load_params()
    row = STAGES[stage]
    needs_model = encoder in (None, OURS)
    for path in row.inputs:
        if not path.exists() and (needs_model or path != paths.MODEL):
            raise StaleError(f"{path}: not found; run `dvc repro`, which writes it")
    if row.is_parallel:
        from openmedq.training import launch

        if (num := launch.count_devices(params.execution)) > 1:
            return launch.launch(stage, num)
    run = importlib.import_module(row.module).run
    if row.is_parallel:
        run = launch.as_member(run)
    if row.slot == "gpu":
        output = paths.TRANSFER / encoder / "metrics.json" if encoder else row.artifacts[0]
        run = _timed(run, "-".join(filter(None, (stage, encoder))), output, params)
    if dataset_id is not None:
        from openmedq.datasets import catalogue, registry

        dataset = registry.load(dataset_id)
        catalogue.check(paths.CATALOGUE, dataset.card)
        run(params, dataset)
    elif not needs_model:
        from openmedq.storage.progress import NoLog

        run(params, encoder, NoLog())
    elif row.is_tracked:
        from openmedq.tracking import runs

        if os.environ.get("RANK", "0") == "0":
            _remove_finished()
        with runs.open_run(stage, row.artifacts, params) as log:
            run(params, *([encoder] if encoder else []), log)
    else:
        run(params)
    return 0


def _remove_finished() -> None:
    """Remove the checkpoints of finished trainings whose outputs are there, or are in DVC's cache."""
    from openmedq.storage.publish import remove
    from openmedq.tracking import lineage

    known = {*lineage.read_md5s().values(), *map(lineage.hash_path, paths.TRAINING.glob("*"))}
    for mark in paths.CHECKPOINTS.glob(paths.FINISHED):
        if mark.read_text(encoding="utf-8") in known:
            remove(mark.parent)


def _timed(run: Callable[..., None], node: str, output: Path, params: Params) -> Callable[..., None]:
    """Return the `run` of a stage that records its wall time; of several processes, the first one does."""
    if os.environ.get("RANK", "0") != "0":
        return run
    from openmedq.model.model import name_device
    from openmedq.storage import timing

    def run_timed(*arguments: Any) -> None:
        with timing.record(node, output, device, int(os.environ.get("WORLD_SIZE", "1"))):
            run(*arguments)

    device = name_device(params.execution.device)
    return run_timed


def _load_params() -> Params:
    from openmedq import config
    from openmedq.datasets import catalogue

    params, cards = config.load(paths.PARAMS), catalogue.read(paths.CATALOGUE)
    catalogue.check_local(paths.CATALOGUE, cards, params.local)
    catalogue.check_names(cards, params)
    return params


def examine_machine() -> int:
    """Print what this machine has and lacks; return 1 if something is missing."""
    from rich.console import Console

    from openmedq import config
    from openmedq.reporting import doctor

    return doctor.run(config.load(paths.PARAMS), Console())


def locate_folder() -> None:
    """Copy new files of `download.remote`, and check the local folders before DVC hashes them."""
    from openmedq.datasets import catalogue
    from openmedq.fetch import remote
    from openmedq.fetch.mirror import require

    params = _load_params()
    remote.copy_new(params.download)
    require(params, catalogue.read(paths.CATALOGUE))


def write_catalogue() -> None:
    """Write data/catalogue.yaml from the cards and params.yaml, and add new datasets to data/forgotten.yaml."""
    from openmedq import config
    from openmedq.curate import forget, overrides
    from openmedq.datasets import DATASETS, catalogue, registry
    from openmedq.datasets.local.local import make_card
    from openmedq.storage.publish import replace_text

    cards = {dataset_id: dataset.card for dataset_id, dataset in DATASETS.items()}
    declared = config.load(paths.PARAMS).local if paths.PARAMS.exists() else {}
    for name, local in declared.items():
        if name in cards:
            raise ParamsError(f"{paths.PARAMS}: local.{name}: a published dataset has this name; choose another")
        cards[name] = make_card(name, local)
    text = catalogue.render(cards, {dataset_id: registry.dependency(dataset_id) for dataset_id in cards})
    replace_text(paths.CATALOGUE, text)
    if not (decisions := Path("data", "copies.csv")).exists():  # DVC needs the file
        replace_text(decisions, f"{','.join(overrides.HEADER)}\n")
    digests = forget.read(paths.FORGOTTEN) if paths.FORGOTTEN.exists() else {}
    replace_text(paths.FORGOTTEN, forget.render(digests, cards))
    print(f"{paths.CATALOGUE}: {numbered(len(cards), 'dataset')}, {len(declared)} of them local")


def write_profile(name: str) -> None:
    """Write params.yaml from a profile; `local` stays as it is."""
    from openmedq import config
    from openmedq.config.render import render
    from openmedq.storage.publish import replace_text

    params = config.profile(paths.CONF, name)
    if paths.PARAMS.exists():  # the user's own datasets are of no profile
        params = params.model_copy(update={"local": config.load_local(paths.PARAMS)})
    replace_text(paths.PARAMS, render(params))
    print(f"{paths.PARAMS}: profile {name}")


def audit_local(local: str) -> None:
    """Print what a local dataset contains that should not leave the machine."""
    from openmedq.curate import audit

    audit.run(local, {stage.name: stage.artifacts for stage in STAGES.values()})


def show_plan() -> int:
    """Print what `download` would do; return 1 if the disk is too small."""
    from rich.console import Console

    from openmedq.datasets import DATASETS
    from openmedq.fetch import planning

    params = _load_params()
    return 0 if planning.show(Console(), planning.plan(params, DATASETS), params.download) else 1


def forget_name(name: str, dataset_id: str | None) -> None:
    """Add an id to the list of ids that are excluded by request."""
    from openmedq.curate.forget import forget

    for each, number in forget(name, dataset_id).items():
        if number:
            print(f"{each}: {number} {'row' if number == 1 else 'rows'} will be removed by the next `dvc repro`")
        else:
            print(f"{each}: no row on disk has this id (of a record: DATASET/ID); rows read later will be excluded")
    print(f"Commit {paths.FORGOTTEN}. Earlier outputs still contain the rows:")
    print("`dvc gc --workspace` removes old data from DVC's cache; remove data/show, earlier models,")
    print("MLflow runs and exports yourself.")


def export_model(target: Path, form: Literal["merged", "adapter"]) -> None:
    """Copy the trained model or its adapter, with a model card."""
    from openmedq.curate import forget
    from openmedq.datasets import catalogue
    from openmedq.model import export
    from openmedq.reporting import model_card
    from openmedq.reporting.results import read_results
    from openmedq.storage.tables import check_index
    from openmedq.tracking import lineage

    def render_card(tree: dict[str, Any]) -> str:
        results = read_results()
        if lineage.read_input_md5("evaluate", paths.MODEL) not in (None, lineage.hash_folder(paths.MODEL)):
            _log.warning(f"{paths.EVALUATION}: scores of another model, so the model card omits them; run `dvc repro`")
            results = dataclasses.replace(results, evaluation={}, transfer={})
        return model_card.render(results, tree, policy, form)

    dataset_ids = catalogue.read(paths.CATALOGUE) if paths.CATALOGUE.exists() else ()
    forget.check_samples(dataset_ids)
    if any(map(forget.digests_of, dataset_ids)) and paths.MIX.exists():
        check_index()
        if lineage.read_input_md5("train", paths.MIX) not in (None, lineage.hash_folder(paths.MIX)):
            raise StaleError(
                f"{paths.MODEL}: trained on another {paths.MIX}, which may have rows that `forget` excludes; run "
                "`dvc repro train`"
            )
    policy = _load_params().policy.licences
    export.export(target, policy, render_card, form)
    print(f"{target}: {paths.MODEL}, {form}, allowed by policy.licences: {policy}")


def export_mix(target: Path, form: str, sources: Sequence[str] = (), roles: Sequence[str] = ()) -> None:
    """Write the rows of the mix in a format of other trainers, with their cards."""
    from openmedq.curate import export_mix
    from openmedq.reporting import dataset_card

    export_mix.run(target, form, dataset_card.write, sources, roles)
