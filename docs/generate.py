"""Write the generated pages of docs/reference: settings, commands, schema, table of datasets. `make docs` runs it.

A test compares the pages with what this script makes.
"""

import argparse
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from openmedq import schema
from openmedq.cli import make_parser
from openmedq.config import Params, Section, profile
from openmedq.datasets import DATASETS
from openmedq.paths import CONF
from openmedq.stages import STAGES

FOLDER = Path(__file__).parent / "reference"
PROFILES = ("miniature", "real", "paper")
CLASSES = (
    schema.Sample,
    schema.Turn,
    schema.Image,
    schema.EncodedImage,
    schema.Groups,
    schema.Provenance,
    schema.Task,
    schema.Role,
    schema.Rejected,
    schema.Reason,
)

PARAMS = """# Settings

`python -m openmedq profile NAME` writes `params.yaml` with all of them. An unknown name or a value that is not allowed
is an error. A default is written once where the profiles agree.
"""
COMMANDS = """# Commands

`python -m openmedq COMMAND`, or `openmedq COMMAND` where the package is installed. An error is one line on stderr with
a non-zero exit status: 75 for a temporary one, such as a host that does not answer.

## Stages

`dvc repro` runs them in order. Each can be run by hand, too.

| command | what it does |
|---|---|
"""
SCHEMA = """# The schema of a sample

Readers yield a `Sample` or a `Rejected` for every published record. `normalize` writes each sample as one row of
`data/samples/<id>/shard-*.parquet`, and the others, with their reasons, to `rejected.parquet`. The Arrow schema follows
from these classes of `openmedq/schema.py`. An image is stored as `image: {bytes, path}`, as Hugging Face `datasets`
stores it:

```python
from datasets import load_dataset

rows = load_dataset("parquet", data_files="data/samples/vqa_rad/shard-*.parquet")
```
"""


def main() -> None:
    """Write the pages."""
    for name, text in make_pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def make_pages() -> dict[str, str]:
    """Return the text of each page by file name."""
    pages = {"params.md": _describe_params(), "commands.md": _describe_commands(), "schema.md": _describe_schema()}
    pages["datasets.md"] = _describe_datasets()
    return {name: "".join(parts) for name, parts in pages.items()}


def _describe_params() -> Iterator[str]:
    yield PARAMS
    profiles = [profile(CONF, name) for name in PROFILES]
    for name, info in Params.model_fields.items():
        sections = [getattr(each, name) for each in profiles]
        if not isinstance(sections[0], Section):  # of the user's own datasets
            yield f"\n## {info.alias or name}\n\nSee [your own data](../how-to/own-data.md).\n"
            continue
        yield f"\n## {info.alias or name}\n\n{_summarize(sections[0])}\n\n"
        yield f"| setting | {' | '.join(PROFILES)} | meaning |\n|---|{'---|' * len(PROFILES)}---|\n"
        yield from _describe_section(sections, "")


def _describe_section(sections: list[Section], prefix: str) -> Iterator[str]:
    plain = [section.model_dump(mode="json") for section in sections]
    for name, info in type(sections[0]).model_fields.items():
        values = [getattr(section, name) for section in sections]
        if isinstance(values[0], Section):
            yield from _describe_section(values, f"{prefix}{name}.")
            continue
        cells = [f"`{_format(tree[name])}`" for tree in plain]
        if len(set(cells)) == 1:  # once where the profiles agree
            cells[1:] = ["" for _ in cells[1:]]
        yield f"| `{prefix}{name}` | {' | '.join(cells)} | {_escape(info.description or '')} |\n"


def _summarize(section: Section) -> str:
    return (type(section).__doc__ or "").splitlines()[0]


def _format(value: Any) -> str:
    if isinstance(value, dict) and any(isinstance(each, dict) for each in value.values()):
        return ", ".join(value)  # names of the encoders
    return "null" if value is None else value if isinstance(value, str) and value else json.dumps(value)


def _describe_commands() -> Iterator[str]:
    yield COMMANDS
    parser = make_parser("python -m openmedq")
    (chosen,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    helps = {action.dest: action.help or "" for action in chosen._choices_actions}
    for name, stage in STAGES.items():
        argument = " ID" * stage.is_per_dataset + " ENCODER" * stage.is_per_encoder
        yield f"| `{name}{argument}` | {_escape(helps[name])} |\n"
    yield "\n## Other commands\n"
    for name, command in chosen.choices.items():
        if name in STAGES:
            continue
        yield f"\n### {name}\n\n{helps[name][:1].upper()}{helps[name][1:]}.\n"
        rows = [row for action in command._actions if (row := _describe_argument(action))]
        if rows:
            yield "\n| argument | meaning |\n|---|---|\n" + "".join(rows)


def _describe_argument(action: argparse.Action) -> str:
    if isinstance(action, argparse._HelpAction):
        return ""
    value = action.metavar or (f"{{{','.join(action.choices)}}}" if action.choices else action.dest.upper())
    text = ", ".join(action.option_strings) or str(value)
    if action.option_strings and action.nargs != 0:
        text += f" {value}"
    return f"| `{text}` | {_escape(action.help or '')} |\n"


def _describe_datasets() -> Iterator[str]:
    """The page with a new table between its two marks."""
    head, _, rest = (FOLDER / "datasets.md").read_text(encoding="utf-8").partition("<!-- table -->")
    yield f"{head}<!-- table -->\n\n"
    yield f"| id | dataset | task | modality | licence | access | rows as published |\n{'|---' * 7}|\n"
    for card in (dataset.card for dataset in DATASETS.values()):
        tasks = ", ".join((card.task, *card.other_tasks)).replace("_", " ")
        rows = ", ".join(f"{split} {number:,}" for split, number in card.published_rows.items())
        title = f"[{card.title}]({card.homepage}): {card.citation}"
        yield f"| `{card.id}` | {title} | {tasks} | {card.modality} | {card.licence} | {card.access} | {rows} |\n"
    yield f"\n<!-- end of table -->{rest.partition('<!-- end of table -->')[2]}"


def _describe_schema() -> Iterator[str]:
    yield SCHEMA
    for kind in CLASSES:
        yield f"\n## {kind.__name__}\n\n```python\n{inspect.getsource(kind)}```\n"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    main()
