import stat
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from openmedq import paths
from openmedq.errors import DiskFullError, ExportError
from openmedq.model import export, provenance
from openmedq.schema import INDEX_SCHEMA
from tests.curate.corpus import make_params

pytestmark = pytest.mark.usefixtures("empty_folder")

ROWS = [  # source, access, licence
    *[("roco", "dead with a mirror", "CC BY-NC")] * 2,
    *[("roco", "dead with a mirror", "CC-BY-4.0")] * 3,
    *[("vqa_rad", "open", "CC0-1.0")] * 4,
]


def describe(rows: list[tuple[str, str, str]] = ROWS, **train: Any) -> dict[str, Any]:
    columns = dict(zip(("source", "access", "licence"), map(list, zip(*rows, strict=True)), strict=True))
    numbers = ("row_group", "row", "weight", "num_images", "num_chars")
    table = pa.table(
        {name: columns.get(name) or [0 if name in numbers else ""] * len(rows) for name in INDEX_SCHEMA.names},
        INDEX_SCHEMA,
    )
    params = make_params()
    parts = {name: getattr(params.train, name).model_copy(update=change) for name, change in train.items()}
    params = params.model_copy(update={"train": params.train.model_copy(update=parts)})
    return provenance.describe(table, params, defaultdict(lambda: "mirror", roco="miniature"))


def render_card(tree: Any) -> str:
    return f"card of {len(tree['sources'])} datasets"


def write(tree: dict[str, Any]) -> None:
    (paths.MODEL / "deep").mkdir(parents=True)
    (paths.MODEL / "model.safetensors").write_bytes(b"weights")
    (paths.MODEL / "model.safetensors").chmod(0o444)  # as in DVC's cache
    (paths.MODEL / "deep" / "link.json").symlink_to("../model.safetensors")
    (paths.MODEL / provenance.NAME).write_text(provenance.render(tree), encoding="utf-8")


def fail(policy: Any, target: str = "out") -> str:
    with pytest.raises(ExportError) as caught:
        export.export(Path(target), policy, render_card)
    assert not Path(target).exists()
    assert not list(Path().glob(".*partial"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_rows_are_counted_by_source_and_licence() -> None:
    base = {"weights": "/home/me/models/vit", "licence": "mit", "revision": "abc"}
    assert describe(vision=base) == {
        "policy": "any",
        "sources": {
            "roco": {
                "access": "dead with a mirror",
                "origin": "miniature",
                "rows": 5,
                "licences": {"CC-BY-4.0": 3, "CC-BY-NC": 2},
            },
            "vqa_rad": {"access": "open", "origin": "mirror", "rows": 4, "licences": {"CC0-1.0": 4}},
        },
        "base_weights": {"vision": {"weights": "vit", "revision": "abc", "licence": "MIT"}},
    }
    assert provenance.render(describe(ROWS[::-1])) == provenance.render(describe())


def test_an_allowed_model_is_exported_with_its_card() -> None:
    write(describe(language={"weights": "org/base", "licence": "Apache-2.0"}))
    export.export(Path("some/where"), "research", render_card)
    names = {path.relative_to("some/where").as_posix() for path in Path("some/where").rglob("*")}
    assert names == {"README.md", "deep", "deep/link.json", "model.safetensors", provenance.NAME}
    assert Path("some/where/deep/link.json").read_bytes() == b"weights"
    assert not Path("some/where/deep/link.json").is_symlink()
    assert Path("some/where/model.safetensors").stat().st_mode & stat.S_IWUSR  # `os.access` lets root write anything
    assert Path("some/where/README.md").read_text(encoding="utf-8") == "card of 2 datasets"
    assert not list(Path("some").glob(".*"))


BASE = {"weights": "org/base", "revision": "abc", "licence": "Apache-2.0"}


def test_the_adapter_is_exported_without_the_merged_weights_and_the_other_way_round() -> None:
    write(describe(language=BASE))
    for name in ("model-00001-of-00002.safetensors", "model.safetensors.index.json", "config.json", "tokenizer.json"):
        (paths.MODEL / name).write_text("of the merged model")
    (paths.MODEL / "adapter").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (paths.MODEL / "adapter" / name).write_text("of the adapter")
    export.export(Path("adapter"), "research", render_card, "adapter")
    common = {"README.md", "config.json", "tokenizer.json", "deep", provenance.NAME}
    assert {path.name for path in Path("adapter").iterdir()} == common | {
        *("adapter_config.json", "adapter_model.safetensors"),
    }
    export.export(Path("merged"), "research", render_card)
    assert {path.name for path in Path("merged").iterdir()} == common | {
        *("model.safetensors", "model-00001-of-00002.safetensors", "model.safetensors.index.json"),
    }


def test_a_new_language_model_has_no_adapter_to_export() -> None:
    write(describe())
    with pytest.raises(ExportError, match=r"data/model: has no adapter, .*; export it with --merged"):
        export.export(Path("out"), "any", render_card, "adapter")
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("policy", "rows", "train", "words"),
    [
        ("commercial", ROWS, {}, ["roco 2 rows (licence CC-BY-NC: not commercial)"]),
        ("research", [("medqa", "open", "words")] * 1200, {}, ["medqa 1,200 rows (licence unknown)"]),
        ("redistributable", [("vqa_rad", "open", "CC BY-ND")], {}, ["vqa_rad 1 row (licence CC-BY-ND: not redist"]),
        ("commercial", [("mimic_cxr", "credentialed", "MIT")], {}, ["mimic_cxr 1 row (credentialed: not commercial)"]),
        ("research", ROWS, {"vision": {"weights": "org/vit"}}, ["pretrained vision weights org/vit (licence unknown)"]),
        (
            "commercial",
            ROWS,
            {"language": {"weights": "org/l", "licence": "LicenseRef-LLaMA-1"}},
            ["roco 2 rows", "pretrained language weights org/l (licence LicenseRef-LLaMA-1: not commercial)"],
        ),
    ],
)
def test_what_is_not_allowed_is_listed(policy: str, rows: Any, train: Any, words: list[str]) -> None:
    write(describe(rows, **train))
    line = fail(policy)
    assert line.startswith(f"policy.licences: {policy} does not allow the training data of data/model: ")
    assert all(word in line for word in words)


def test_an_existing_folder_is_not_overwritten() -> None:
    write(describe())
    Path("out").mkdir()
    Path("gone").symlink_to("nowhere")
    for name in ("out", "gone"):
        with pytest.raises(ExportError, match=f"{name}: exists already"):
            export.export(Path(name), "any", render_card)
    assert list(Path("out").iterdir()) == []
    assert "is inside data/model" in fail("any", "data/model/out")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "not found"),
        ("{", "is not JSON"),
        ("[]", "the whole is not as `train` wrote it"),
        ('{"policy": "any", "sources": {"roco": {}}, "base_weights": {}}', "sources.roco.access is not as"),
        ('{"policy": "any", "sources": {}, "base_weights": {"vision": "vit"}}', "base_weights.vision is not as"),
        ('{"policy": "all", "sources": {}, "base_weights": {}}', "policy is not as"),
    ],
)
def test_a_damaged_or_missing_description_is_an_error(text: str | None, words: str) -> None:
    write(describe())
    (paths.MODEL / provenance.NAME).unlink()
    if text is not None:
        (paths.MODEL / provenance.NAME).write_text(text)
    assert f"data/model/training_data.json: {words}" in fail("any")


def test_a_copy_that_fails_leaves_nothing() -> None:
    write(describe())

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(DiskFullError, match=r"^out: no space left on the disk of "):
        export.export(Path("out"), "any", fail)
    assert sorted(path.name for path in Path().iterdir()) == ["data"]


def test_any_allows_everything() -> None:
    secret = ("mimic_cxr", "credentialed", "PhysioNet-Credentialed-1.5.0")
    write(describe([*ROWS, secret, ("medqa", "open", "odd words")], vision={"weights": "w"}))
    export.export(Path("out"), "any", render_card)
    assert Path("out/README.md").read_text(encoding="utf-8") == "card of 4 datasets"
