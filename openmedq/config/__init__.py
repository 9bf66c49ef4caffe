"""The settings of params.yaml: one frozen section per stage.

A setting without a default must be given by each profile (`openmedq/conf/<profile>.yaml`).
"""

from pathlib import Path
from types import UnionType
from typing import Any, get_args

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from openmedq.config.base import LanguageCode, Licences, Section
from openmedq.config.data import Deduplicate, Download, Miniature, Mix, Normalize, Policy, Validate
from openmedq.config.learning import (
    OURS,
    SCRATCH,
    Encoder,
    Evaluate,
    Execution,
    Language,
    Lora,
    Report,
    Train,
    Transfer,
    Vision,
)
from openmedq.config.local import Columns, Local, LocalName
from openmedq.errors import ParamsError

MAX_VALUE_CHARS = 100  # of a wrong value that is quoted
# may contain a password
_URLS = (("execution", "endpoints"), ("execution", "scheduler"), ("download", "remote"), ("download", "mirror"))


class Params(Section):
    """All sections of params.yaml."""

    miniature: Miniature = Miniature()
    download: Download = Download()
    policy: Policy = Policy()
    local: dict[LocalName, Local] = Field({}, description="Your own datasets by name, see docs/how-to/own-data.md.")
    normalize: Normalize = Normalize()
    deduplicate: Deduplicate = Deduplicate()
    mix: Mix = Mix()
    validate_: Validate = Field(Validate(), alias="validate")
    train: Train
    evaluate: Evaluate
    transfer: Transfer
    report: Report = Report()
    execution: Execution = Execution()

    @model_validator(mode="after")
    def _check(self) -> "Params":
        """Refuse settings of different stages that contradict each other before the first stage runs."""
        if both := set(self.download.require).intersection(self.download.skip):
            raise ValueError(f"download: {min(both)} is in require and in skip; remove it from one of them")
        if self.normalize.max_side_px < self.validate_.min_side_px:
            raise ValueError("normalize.max_side_px is less than validate.min_side_px, so all images would fail")
        side, patch = self.transfer.image_size_px, self.train.vision.patch_size_px
        if side and side % patch and {OURS, SCRATCH} & self.transfer.encoders.keys():
            raise ValueError(f"transfer.image_size_px, {side}, is no multiple of train.vision.patch_size_px, {patch}")
        return self


def parse(tree: Any, where: Path) -> Params:
    """Validate a YAML tree; ParamsError if a value is not allowed."""
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise ParamsError(f"{where}: {_first_problem(error)}") from None


def load(path: Path) -> Params:
    """Read `params.yaml`."""
    return parse(read_yaml(path), path)


def load_local(path: Path) -> dict[str, Local]:
    """The section `local` of a `params.yaml` whose other sections need not be valid."""
    tree = read_yaml(path)
    declared = tree.get("local") if isinstance(tree, dict) else None
    try:
        return TypeAdapter(dict[LocalName, Local]).validate_python(declared or {})
    except ValidationError:
        raise ParamsError(f"{path}: local: not valid, and the profile would drop it; correct or remove it") from None


def profile(folder: Path, name: str) -> Params:
    """Read `<folder>/<name>.yaml`, with defaults; its key `base` names a profile that it changes."""
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise ParamsError(f"{name}: unknown profile; available: {', '.join(known)}")
    tree = read_yaml(folder / f"{name}.yaml")
    if base := tree.pop("base", None):
        tree = _merge(read_yaml(folder / f"{base}.yaml"), tree)
    return parse(tree, folder / f"{name}.yaml")


def _merge(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of `base`, with those of `own` in their place, section by section."""
    return base | {
        key: _merge(base.get(key, {}), each) if isinstance(each, dict) else each for key, each in own.items()
    }


def read_yaml(path: Path) -> Any:
    """Read one YAML document; ParamsError if the file is missing, is not YAML or has a key twice."""
    try:
        with path.open(encoding="utf-8") as file:  # its errors then name the file, and quote no line of it
            return yaml.load(file, _Loader)
    except FileNotFoundError:
        raise ParamsError(f"{path}: not found; write it with `python -m openmedq profile miniature`") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # invalid dates, too deep nesting
        raise ParamsError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


class _Loader(yaml.SafeLoader):
    """A loader that refuses a key that a mapping has twice, as DVC's does; the first one would be dropped silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        names = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in names:
                raise yaml.MarkedYAMLError(problem=f"{key.value}: given twice", problem_mark=key.start_mark)
            names.add(key.value)
        return super().construct_mapping(node, deep)


def _first_problem(error: ValidationError) -> str:
    """Describe the first problem in one line, and count the others."""
    problems = error.errors(include_url=False, include_context=True)
    first = problems[0]
    where = _place(first["loc"])
    same = [each for each in problems if _place(each["loc"]) == where]  # one for each type that a setting may have
    if first["type"] == "extra_forbidden":
        text = f"{where}: unknown key; allowed here: {', '.join(_allowed(first['loc'][:-1]))}"
    elif first["type"] == "missing":
        how = (
            "set it" if first["loc"][0] == "local" else "`python -m openmedq profile miniature` writes a complete file"
        )
        text = f"{where}: missing; {how}"
    elif first["type"] == "model_type":
        text = f"{where}: must be a mapping with the keys {', '.join(_allowed(first['loc']))}".removeprefix(": ")
    else:
        text = f"{where}: {' or '.join(each['msg'].removeprefix('Value error, ') for each in same)}".removeprefix(": ")
        if first["loc"][:2] not in _URLS and not isinstance(first["input"], dict):  # the input of a section is no value
            text += f", not {first['input']!r:.{MAX_VALUE_CHARS}}"
    return text if len(problems) == len(same) else f"{text} (and {len(problems) - len(same)} more)"


def _place(location: tuple[int | str, ...]) -> str:
    """The key, without pydantic's names of the types that its value may have."""
    return ".".join(str(part) for part in location if part not in ("literal['auto']", "constrained-int"))


def _allowed(location: tuple[int | str, ...]) -> list[str]:
    kind: Any = Params
    for part in location:
        if hasattr(kind, "model_fields"):
            kind = next(info.annotation for name, info in kind.model_fields.items() if (info.alias or name) == part)
        else:  # sections by name
            kind = get_args(kind)[1]
        kind = get_args(kind)[0] if isinstance(kind, UnionType) else kind  # a section or null
    return [info.alias or name for name, info in kind.model_fields.items()]
