import copy
import json
import shutil
from pathlib import Path

import pytest
import yaml

from openmedq import config
from openmedq.cli import main
from openmedq.config.render import render
from openmedq.errors import ParamsError
from openmedq.paths import CATALOGUE, CONF, PARAMS

PROFILES = sorted(path.stem for path in CONF.glob("*.yaml"))
_MINIATURE = yaml.safe_load(render(config.profile(CONF, "miniature")))


def test_committed_params_are_the_default_profile() -> None:
    assert PARAMS.read_text(encoding="utf-8") == render(config.profile(CONF, "miniature"))


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_written_and_read_is_the_same(name: str) -> None:
    profile = config.profile(CONF, name)
    assert config.parse(yaml.safe_load(render(profile)), Path("params.yaml")) == profile


def _miniature() -> dict:
    return copy.deepcopy(_MINIATURE)


def _train(**changes: object) -> dict:
    tree = _miniature()["train"]
    parts = {name: tree[name] | value if isinstance(value, dict) else value for name, value in changes.items()}
    return {"train": tree | parts}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"download": {"miror": "x"}}, "params.yaml: download.miror: unknown key; allowed here: mirror, remote, fetch"),
        (
            {"normalize": {"max_side_px": 0}},
            "params.yaml: normalize.max_side_px: Input should be greater than or equal",
        ),
        ({"normalize": {"shard_size_bytes": 4}}, "shard_size_bytes: Input should be greater than or equal to 1024"),
        ({"normalize": {"row_group_size_bytes": 2**63}}, "row_group_size_bytes: Input should be less than 922337203"),
        ({"deduplicate": {"thumbnail_distance": 256}}, "thumbnail_distance: Input should be less than or equal to 255"),
        ({"evaluate": {}}, "params.yaml: evaluate.max_new_tokens: missing"),
        ({"execution": {"timeout_s": float("inf")}}, "execution.timeout_s: Input should be a finite number, not inf"),
        (_train(num_epochs=1e300), "params.yaml: train.num_epochs: "),
        ({"mix": {"weights": {"vqa_rad": 1e30}}}, "params.yaml: mix.weights.vqa_rad: "),
        (_train(next_token_weight=0), "params.yaml: train: next_token_weight is 0, and so is contrastive_weight"),
        (_train(next_token_weight=0, contrastive_weight=1, with_images=False), "nothing would train"),
        (
            _train(vision={"image_size_px": 50}),
            "vision: image_size_px, 50, is not a multiple of patch_size_px, 8",
        ),
        (_train(language={"width": 92}), "train.language: width, 92, is not an even multiple of num_heads, 4"),
        (_train(language={"num_layers": None}), "train.language: num_layers is null; set a number, because weights is"),
        (_train(patience=2), "params.yaml: train: patience needs validations during the training; set validate_every"),
        (
            _train(micro_batch_size=0),
            "params.yaml: train.micro_batch_size: Input should be greater than or equal to 1 or",
        ),
        ({"execution": {"devices": 0}}, "params.yaml: execution.devices: Input should be 'auto' or Input should be"),
        ({"transfer": {**_miniature()["transfer"], "seeds": [1, 1]}}, "transfer.seeds: a value is listed twice"),
        ({"report": None}, "params.yaml: report: must be a mapping with the keys num_examples"),
        (_train(lr=True), "params.yaml: train.lr: Input should be a value other than true and false, not True"),
        ({"deduplicate": {"keep_out": "x" * 999}}, f"or 'all', not '{'x' * 99}"),
        (_train(select="best"), "params.yaml: train: select: best needs validations during the training"),
        (_train(align_steps=400), "params.yaml: train: align_steps, 400, is not less than max_steps, 400"),
        (_train(lr_of={"adapters": 1e-30}), "train.lr_of.adapters: Input should be greater than or equal to 0.000000"),
        ({"evaluate": {**_MINIATURE["evaluate"], "num_resamples": 10**9}}, "evaluate.num_resamples: Input should be"),
        ({"evaluate": {**_MINIATURE["evaluate"], "controls": ["blank"] * 2}}, "evaluate.controls: a value is listed"),
        (
            {"execution": {"workers": 10**6}},
            "params.yaml: execution.workers: Input should be less than or equal to 1024",
        ),
        ({"download": {"require": ["slake"], "skip": ["slake"]}}, "params.yaml: download: slake is in require and in"),
        ({"normalize": {"max_side_px": 4}}, "params.yaml: normalize.max_side_px is less than validate.min_side_px"),
        ({"transfer": {**_MINIATURE["transfer"], "image_size_px": 50}}, "params.yaml: transfer.image_size_px, 50, is"),
    ],
)
def test_an_error_is_one_line_with_key_and_reason(change: dict, line: str) -> None:
    with pytest.raises(ParamsError) as caught:
        config.parse({**_miniature(), **change}, Path("params.yaml"))
    assert line in str(caught.value) and len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [["https://me:battery@host"], "s3://me:battery/horse@bucket", "s3://x?sig=battery"])
@pytest.mark.parametrize(("section", "name"), config._URLS)
def test_a_url_is_not_printed(section: str, name: str, value: object) -> None:
    with pytest.raises(ParamsError, match=rf"{section}\.{name}\S*: (Input should|must|remove user)") as caught:
        config.parse({**_miniature(), section: {name: value}}, Path("params.yaml"))
    assert "battery" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "train: [", "\tx: 1", "a: b: c", pytest.param("[" * 3000, id="deep"), "a: 2026-99-99", "? [a]\n: 1"],
)
def test_a_file_that_is_not_a_mapping_or_not_yaml_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError) as caught:
        config.load(tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)


def test_a_key_that_is_given_twice_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("local: {}\nlocal: {clinic: {folder: x}}\n", encoding="utf-8")
    with pytest.raises(ParamsError, match=r'local: given twice in ".*params\.yaml", line 2, column 1$'):
        config.load(tmp_path / "params.yaml")


def test_the_errors_of_a_missing_file_and_profile(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="python -m openmedq profile miniature"):
        config.load(tmp_path / "params.yaml")
    with pytest.raises(ParamsError, match="available: contrastive, miniature, paper, real, small"):
        config.profile(CONF, "huge")


def test_the_profile_contrastive_is_the_papers_with_another_objective() -> None:
    paper, contrastive = (config.profile(CONF, name) for name in ("paper", "contrastive"))
    train = paper.train.model_copy(update={"contrastive_weight": 1.0})
    assert contrastive == paper.model_copy(update={"train": train})


_WRONG = [  # setting, value, part of the message, an allowed value
    ("download.require", ["vqarad"], "vqarad", "vqa_rad"),
    ("download.skip", ["vqarad"], "vqarad", "vqa_rad"),
    ("download.editions", {"vqarad": "v2"}, "vqarad", "vqa_rad"),
    ("download.editions", {"pmc_vqa": "v9"}, "v9", "v2"),
    ("download.editions", {"slake": "v2"}, "v2", "none"),
    ("normalize.languages", ["english"], "english", "zh"),
    ("deduplicate.keep_out", "source", "source", "cross_source"),
    ("mix.roles", {"vqarad": {"train": None}}, "vqarad", "vqa_rad"),
    ("mix.roles", {"slake": {"training": None}}, "training", "validation"),
    ("mix.roles", {"slake": {"train": "training"}}, "training", "evaluation"),
    ("mix.weights", {"vqarad": 2}, "vqarad", "vqa_rad"),
    ("mix.weights", {"cxr8": 2}, "cxr8", "vqa_rad"),  # never trains
    ("train.vision.encoder", "resnet", "resnet", "biomedclip"),
    ("train.lora.targets", ["q_proj", "query"], "query", "gate_proj"),
    ("train.lora.targets", [], "train.lora.targets", "at least 1"),
    ("transfer.benchmarks", ["cxr9"], "cxr9", "cxr8"),
    ("transfer.benchmarks", ["slake"], "slake", "cxr8"),
    ("deduplicate.overrides", "data", "'data'", "no such file"),
    ("train.language.weights", "data/parts/llama", "llama", "not found"),
    ("transfer.encoders.mine", {"weights": "a/b", "depends": "mine.pth"}, "depends", "'mine.pth': not found"),
]


@pytest.mark.parametrize(("setting", "value", "named", "allowed"), _WRONG)
def test_the_error_of_a_value_lists_the_allowed_ones(
    setting: str,
    value: object,
    named: str,
    allowed: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    catalogue = CATALOGUE.resolve()
    monkeypatch.chdir(tmp_path)
    CATALOGUE.parent.mkdir()
    shutil.copy(catalogue, CATALOGUE)
    tree = _miniature()
    *sections, key = setting.split(".")
    section = tree
    for name in sections:
        section = section[name]
    section[key] = value
    PARAMS.write_text(json.dumps(tree), encoding="utf-8")
    assert main(["locate"]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"error: params.yaml: {setting}") and message.count("\n") == 1
    assert named in message and allowed in message
