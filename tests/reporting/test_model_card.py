import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from openmedq import cli, commands, paths
from openmedq.datasets import DATASETS
from openmedq.model import provenance
from openmedq.reporting import model_card, report
from openmedq.reporting.results import DatasetResult, Results, read_results
from openmedq.storage.progress import NoLog
from openmedq.tracking import lineage
from tests.curate.corpus import make_params
from tests.stages.results import call_miniatures

MIXED = "MIT by the tag | of this\ncopy"
BASE = {"weights": "org/base", "revision": "abc", "licence": "Apache-2.0"}


def describe(*names: str, origin: str = "mirror", access: str = "open", **bases: Any) -> dict[str, Any]:
    entry = {"access": access, "origin": origin, "rows": 1200, "licences": {"CC-BY-4.0": 1000, MIXED: 200}}
    return {"policy": "any", "sources": dict.fromkeys(names, entry), "base_weights": bases}


def published(*names: str, origin: str = "mirror") -> Results:
    """A run of published datasets without scores."""
    datasets = tuple(DatasetResult(DATASETS[name].card, origin, "present") for name in names)
    return Results(datasets, None, {}, {}, languages=("en", "zh"))


def render(*arguments: Any, **options: Any) -> ModelCard:
    text = model_card.render(*arguments, **options)
    assert text.startswith("---\n")
    return ModelCard(text)


def test_the_front_matter_names_datasets_and_bases_of_the_hub() -> None:
    names = ("pathvqa", "pubmedqa", "vqa_rad")
    tree = describe(*names, vision={"weights": "vit", "revision": None, "licence": None}, language=BASE)
    card = render(published(*names), tree, "research")
    assert card.data.datasets == ["flaviagiammarino/path-vqa", "qiaojin/PubMedQA"]  # VQA-RAD is published elsewhere
    assert card.data.base_model == ["org/base"]  # the other is a folder
    assert (card.data.license, card.data.library_name, card.data.language) == ("other", "transformers", ["en", "zh"])
    assert card.data.pipeline_tag == "image-text-to-text"
    assert card.data.eval_results is None and "No scores" in card.text
    assert "generated-data" not in card.data.tags
    assert "policy of the training: `any`; of this export: `research`" in card.text
    assert "| language | org/base | abc | Apache-2.0 |" in card.text
    assert "| vision | vit | – | not stated |" in card.text
    assert (
        "[VQA-RAD](https://osf.io/89kps/) | 1,200 | CC-BY-4.0: 1,000; MIT by the tag \\| of this copy: 200" in card.text
    )
    assert "Credentialed" not in card.text and "miniature" not in card.text


def test_generated_data_are_named_and_claim_no_published_dataset() -> None:
    card = render(published("pathvqa", origin="miniature"), describe("pathvqa", origin="miniature"), "any")
    assert card.data.datasets is None
    assert "generated-data" in card.data.tags
    assert "Generated miniatures without medical content: PathVQA" in card.text


def test_credentialed_data_are_named() -> None:
    card = render(published("mimic_cxr"), describe("mimic_cxr", "own_*", access="credentialed"), "any")
    assert r"Credentialed data were used for training (MIMIC-CXR, own\_\*)" in card.text


def test_the_adapter_has_a_recipe() -> None:
    card = render(published("slake"), describe("slake", language=BASE), "any", form="adapter")
    assert card.data.library_name == "peft"
    assert 'base = {"pretrained_model_name_or_path": "org/base", "revision": "abc"}' in card.text


@pytest.mark.usefixtures("finished")
def test_results_are_those_of_generated_data_if_they_are() -> None:
    call_miniatures()
    card = render(read_results(), describe("open_vqa", origin="miniature"), "any")
    result = next(each for each in card.data.eval_results if each.metric_type == "exact_match")
    assert result.dataset_name == "Title of open_vqa (generated miniature)"
    assert result.dataset_type == "generated-miniature/open_vqa"
    assert "| Title of open\\_vqa | 8 |" in card.text
    assert "0.810 (0.700 – 0.900)" in card.text


@pytest.mark.usefixtures("finished")
def test_the_report_and_the_export_write_the_same_card(monkeypatch: pytest.MonkeyPatch) -> None:
    params = make_params()
    report.run(params, NoLog())
    assert not (paths.REPORT / "model_card.md").exists()  # no model
    paths.MODEL.mkdir(parents=True)
    (paths.MODEL / provenance.NAME).write_text(provenance.render(describe("open_vqa")), encoding="utf-8")
    report.run(params, NoLog())
    monkeypatch.setattr(commands, "_load_params", lambda: params)
    assert cli.main(["export", "out"]) == 0
    card = (paths.REPORT / "model_card.md").read_text(encoding="utf-8")
    assert (paths.MODEL.parents[1] / "out" / "README.md").read_text(encoding="utf-8") == card


@pytest.mark.usefixtures("finished")
def test_scores_of_another_model_are_not_exported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    paths.MODEL.mkdir(parents=True)
    (paths.MODEL / provenance.NAME).write_text(provenance.render(describe("open_vqa")), encoding="utf-8")
    monkeypatch.setattr(commands, "_load_params", make_params)
    for md5, target in ((lineage.hash_folder(paths.MODEL), "same"), ("0.dir", "other")):
        deps = [{"path": "data/mix", "md5": "1.dir"}, {"path": "data/model", "md5": md5}]
        paths.DVC_LOCK.write_text(json.dumps({"stages": {"evaluate": {"deps": deps}}}), encoding="utf-8")
        commands.export_model(Path(target), "merged")
    assert "model-index" in Path("same/README.md").read_text(encoding="utf-8")
    assert "model-index" not in Path("other/README.md").read_text(encoding="utf-8")
    assert caplog.messages == [
        "data/evaluation: scores of another model, so the model card omits them; run `dvc repro`",
    ]
