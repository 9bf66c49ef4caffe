"""The source that CONTRIBUTING.md shows is one that works."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from openmedq.errors import SourceError
from openmedq.schema import Reason, Rejected, Sample

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"


def _load(number: int, tmp_path: Path) -> ModuleType:
    """The module in the page's code block of that number."""
    block = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[number]
    file = tmp_path / f"shown_{number}.py"
    file.write_text(block, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def shown(tmp_path: Path) -> ModuleType:
    return _load(0, tmp_path)


def test_it_reads_what_its_miniature_writes(shown: ModuleType, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    _load(1, tmp_path).write(raw)
    rows = list(shown.read(raw))
    kept = [row for row in rows if isinstance(row, Sample)]
    assert kept
    assert [row.reason for row in rows if isinstance(row, Rejected)] == [Reason.IMAGE_MISSING]
    assert {row.split for row in rows} <= set(shown.card.roles)
    assert all(image.path.is_file() for row in kept for image in row.images)


def test_a_folder_without_the_layout_is_one_line(shown: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"questions\.csv: not found"):
        list(shown.read(tmp_path))
