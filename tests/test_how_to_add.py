"""The code of docs/how-to/add-*.md works: the dataset runs through the stages, and the encoder returns tokens."""

import json
import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from openmedq import datasets, paths
from openmedq.cli import main
from openmedq.datasets import registry
from openmedq.errors import SourceError
from openmedq.model import encoders
from tests.model import tiny

FOLDER = Path(__file__).parents[1] / "docs" / "how-to"
TEXTS = [(FOLDER / f"add-{name}.md").read_text(encoding="utf-8") for name in ("dataset", "encoder")]
BLOCKS = [
    textwrap.dedent(block)
    for text in TEXTS
    for block in re.findall(r"^ *```python\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
]


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project whose registry has the page's dataset."""
    monkeypatch.chdir(tmp_path)
    known = dict(datasets.DATASETS)
    _load(0, "openmedq.datasets.chest_q", monkeypatch)
    _load(1, "openmedq.synthetic.chest_q", monkeypatch)
    monkeypatch.setitem(registry.MODULES, "chest_q", "chest_q")
    monkeypatch.setattr(datasets, "DATASETS", {**known, "chest_q": registry.load("chest_q")})


def _load(number: int, name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType(name)
    exec(compile(BLOCKS[number], name, "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, name, module)
    return module


def test_the_dataset_runs_through_the_stages() -> None:
    for command in ("profile miniature", "catalogue", "miniature chest_q", "manifest"):
        assert main(command.split()) == 0
    for command in ("download chest_q", "normalize chest_q"):
        assert main(command.split()) == 0
    counts = json.loads((paths.SAMPLES / "chest_q" / "counts.json").read_text(encoding="utf-8"))
    assert (counts["found"], counts["read"], counts["rejected"]) == (4, 3, {"image missing": 1})
    assert counts["splits"] == {"train": 2, "test": 1} and counts["origin"] == "miniature"


def test_a_folder_in_another_layout_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"questions\.csv: not found"):
        list(registry.load("chest_q").read(tmp_path))


def test_the_encoder_has_a_class_token_and_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    (number,) = (number for number, block in enumerate(BLOCKS) if "def build" in block)
    _load(number, "openmedq.model.encoders.dinov2", monkeypatch)
    settings = tiny.make_settings().vision.model_copy(update={"encoder": "dinov2"})
    pixels = torch.zeros(2, 3, tiny.SIDE_PX, tiny.SIDE_PX)
    tokens = encoders.build(settings)(pixels, output_hidden_states=True).hidden_states[-1]
    assert tokens.shape == (2, 1 + tiny.NUM_PATCHES, settings.width)
