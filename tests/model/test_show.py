import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from openmedq import paths
from openmedq.cli import main
from openmedq.config import Normalize
from openmedq.errors import ModelError
from openmedq.model import tokenizer as tokenizers
from openmedq.model.prompt import encode, respond
from openmedq.reporting import sample as samples
from openmedq.schema import INDEX_SCHEMA, VERDICT_SCHEMA, Provenance, Reason, Rejected, Sample, Task, Turn
from openmedq.storage.shards import ShardStore, write_rejected
from openmedq.storage.tables import INDEX, VERDICT_TABLE, write_table

from . import tiny

ROOT = Path(__file__).parents[2]
IMAGES = Path("data/show")


def _make(source: str, record: str) -> Sample:
    return tiny.store(replace(tiny.make_sample(name=record), id=f"{source}/{record}", source=source))


STORED = {
    "vqa_rad": [_make("vqa_rad", name) for name in ("1", "copy", "near", "no role", "late", "\x1b[2J")],
    "mimic_cxr": [_make("mimic_cxr", "1")],
}


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer: Any) -> None:
    """Two normalized datasets; the first row of each is in the mix, and one row has a duplicate decision."""
    monkeypatch.chdir(tmp_path)
    for folder in (paths.MIX, paths.VERDICTS):
        folder.mkdir(parents=True)
    for name in ("params.yaml", "data/catalogue.yaml"):
        shutil.copy(ROOT / name, name)
    monkeypatch.setattr(tokenizers, "find", lambda _: tokenizer)
    for source, rows in STORED.items():
        folder = paths.SAMPLES / source
        folder.mkdir(parents=True)
        ShardStore(folder).write(rows, Normalize(row_group_rows=1))
        with write_rejected(folder) as reject:
            where = Provenance("questions.json", "record 7")
            detail = "field `answer` is empty"
            reject(Rejected(f"{source}/empty", source, "train", Reason.ANSWER_EMPTY, detail, where))
    _write_index("vqa_rad/1", "mimic_cxr/1")
    decisions = [
        {"id": "vqa_rad/copy", "kept_id": "slake/3", "reason": "duplicate exact", "tier": "same text"},
        {
            "id": "vqa_rad/near",
            "kept_id": "mimic_cxr/1",
            "reason": "in evaluation",
            "tier": "near image",
            "evidence": 0.9,
        },
    ]
    write_table(pa.Table.from_pylist(decisions, VERDICT_SCHEMA), VERDICT_TABLE)


def _write_index(*ids: str) -> None:
    first = {"shard": "shard-00000.parquet", "split": "train", "role": "train", "task": "vqa", "licence": "CC0-1.0"}
    rows = [
        {field.name: 1 if field.name == "weight" else 0 for field in INDEX_SCHEMA}
        | {"id": each, "source": each.partition("/")[0], "access": "open", **first}
        for each in ids
    ]
    write_table(pa.Table.from_pylist(rows, INDEX_SCHEMA), INDEX)


def _show(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["show", name]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_a_record_of_the_mix(capsys: pytest.CaptureFixture[str]) -> None:
    out = _show("vqa_rad/1", capsys)
    assert "In the mix, for training with weight 1" in out and "CC0-1.0" in out and "rows.json, 1" in out
    assert "[36 x <image>]" in out and "Where is the mass? Answer:⟦ upper left</s>⟧" in out and "none cut" in out
    assert "Image: data/show/vqa_rad/1-1.png" in out
    assert (IMAGES / "vqa_rad/1-1.png").read_bytes() == STORED["vqa_rad"][0].images[0].data


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("vqa_rad/copy", "Not in the mix: duplicate exact (same text); slake/3 is kept in its place"),
        ("vqa_rad/near", "in evaluation (near image, evidence 0.900); a record of a credentialed dataset is kept"),
        ("vqa_rad/late", "Read, and not in data/mix/index.parquet: run `dvc repro mix`"),
        ("vqa_rad/empty", "Rejected: answer empty (field `answer` is empty)"),
    ],
)
def test_a_record_that_is_not_in_the_mix(name: str, outcome: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome in _show(name, capsys)


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert "\x1b" not in _show("vqa_rad/\x1b[2J", capsys)


def test_a_split_without_a_role_and_a_weight_of_zero(capsys: pytest.CaptureFixture[str]) -> None:
    tree = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    for mix, outcome in (
        ({"roles": {"vqa_rad": {"train": None}}, "weights": {}}, "the split train has no role"),
        ({"roles": {}, "weights": {"vqa_rad": 0}}, "its weight is 0"),
    ):
        paths.PARAMS.write_text(yaml.safe_dump({**tree, "mix": mix}), encoding="utf-8")
        assert outcome in _show("vqa_rad/no role", capsys)


def test_before_the_mix(capsys: pytest.CaptureFixture[str]) -> None:
    INDEX.unlink()
    VERDICT_TABLE.unlink()
    assert "Read, and not yet decided: run `dvc repro mix`" in _show("vqa_rad/1", capsys)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("vqa_rad/99", "data/samples/vqa_rad has no such record"),
        ("nowhere/1", "the datasets are"),
        ("vqa_rad", "not a record's ID, DATASET/RECORD"),
        ("slake/1", "data/samples/slake: not found; `dvc repro normalize@slake`"),
    ],
)
def test_a_record_that_does_not_exist(name: str, error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", name]) == 1
    line = capsys.readouterr().err
    assert error in line and line.count("\n") == 1


def test_an_index_that_is_older_than_the_shards(capsys: pytest.CaptureFixture[str]) -> None:
    _write_index("vqa_rad/late")  # names the first row, which has another id
    assert main(["show", "vqa_rad/late"]) == 1
    assert "is older than the shards of vqa_rad" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["mimic_cxr/1", "mimic_cxr/empty"])
def test_credentialed_records_are_shown_in_a_terminal_only(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["show", name]) == 1
    out, error = capsys.readouterr()
    assert not out and "in a terminal only" in error
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert _show(name, capsys)
    assert not IMAGES.exists()


def test_without_a_tokenizer_the_texts_are_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizers, "find", lambda _: None)
    out = _show("vqa_rad/1", capsys)
    assert "Where is the mass? upper left" in out and "run `dvc repro train`" in out


@pytest.mark.parametrize("sample", tiny.SAMPLES, ids=lambda sample: sample.id)
def test_the_runs_are_the_labels(sample: Sample, tokenizer: Any) -> None:
    encoded = encode(sample, tokenizer, tiny.NUM_PATCHES, 200)
    runs = list(samples.split(encoded, tokenizer, tiny.NUM_PATCHES))
    assert [text for kind, text in runs if kind == "learned"] == [
        f" {respond(sample.task, turn)}</s>" for turn in sample.turns
    ], "each answer and its end, nothing of the prompt"
    assert sum(kind == "image" for kind, _ in runs) == len(sample.images)
    slot = tokenizer.convert_tokens_to_ids("<image>")
    shown = "".join(text for kind, text in runs if kind != "image")
    assert shown == tokenizer.decode([each for each in encoded.ids.tolist() if each != slot])


def test_a_character_of_several_tokens_stays_whole(tokenizer: Any) -> None:
    sample = tiny.make_sample(Task.VQA, Turn("Größe?", "≈ 5 µm 肺"), num_images=0)
    runs = list(samples.split(encode(sample, tokenizer, 4, 200), tokenizer, 4))
    assert "�" not in "".join(text for _, text in runs)
    assert runs[-1] == ("learned", " ≈ 5 µm 肺</s>")


def test_cut_tokens_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    tree = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    paths.PARAMS.write_text(yaml.safe_dump({**tree, "train": {**tree["train"], "max_tokens": 50}}), encoding="utf-8")
    assert "more were cut" in _show("vqa_rad/1", capsys)


def test_the_tokenizer_of_a_new_language_model_is_that_of_data_model(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.undo()  # of _project: the real `find`, in an empty folder
    monkeypatch.chdir(tmp_path_factory.mktemp("model"))
    settings = tiny.make_settings().language
    assert tokenizers.find(settings) is None
    tokenizer.save_pretrained(paths.MODEL)
    found = tokenizers.find(settings)
    assert found is not None and found.get_vocab() == tokenizer.get_vocab()
    (paths.MODEL / paths.ADAPTER).mkdir()
    assert tokenizers.find(settings) is None, "data/model has a published language model"
    assert tokenizers.find(settings.model_copy(update={"weights": "somebody/llama"}), is_offline=True) is None
    Path("empty").mkdir()
    with pytest.raises(ModelError, match="no tokenizer can be loaded"):
        tokenizers.find(settings.model_copy(update={"weights": "empty"}))
