from pathlib import Path

import pytest
import yaml

from openmedq.datasets import DATASETS, catalogue, registry
from openmedq.errors import StaleError

ROOT = Path(__file__).parents[2]
CARDS = {dataset_id: dataset.card for dataset_id, dataset in DATASETS.items()}


def _render() -> str:
    return catalogue.render(CARDS, {dataset_id: registry.dependency(dataset_id) for dataset_id in CARDS})


def test_the_committed_catalogue_is_the_cards() -> None:
    assert (ROOT / "data" / "catalogue.yaml").read_text(encoding="utf-8") == _render()


def test_the_cards_are_read_back_and_every_entry_names_its_code(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(_render(), encoding="utf-8")
    assert catalogue.read(path) == CARDS
    for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["datasets"].values():
        assert (ROOT / entry["module"]).exists()


def test_a_changed_card_is_noticed(tmp_path: Path) -> None:
    path, card = tmp_path / "catalogue.yaml", DATASETS["vqa_rad"].card
    path.write_text(catalogue.render({card.id: card}, {card.id: registry.dependency(card.id)}), encoding="utf-8")
    catalogue.check(path, card)
    for change in ({"licence": "MIT"}, {"roles": {}}, {"files": ()}, {"title": "x"}, {"published_rows": {"train": 1}}):
        with pytest.raises(
            StaleError, match=r"catalogue\.yaml: vqa_rad differs from its card; run `python -m openmedq catalogue`"
        ):
            catalogue.check(path, card.model_copy(update=change))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "datasets: 3",
        "datasets: {x: 3}",
        "datasets: {x: {}}",
        "a: b: c",
        "\0",
        pytest.param("[" * 3000, id="deep"),
    ],
)
def test_what_is_no_catalogue_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "catalogue.yaml").write_text(text)
    with pytest.raises(StaleError, match=r"catalogue\.yaml: not a catalogue; run `python -m openmedq catalogue`"):
        catalogue.read(tmp_path / "catalogue.yaml")
    with pytest.raises(StaleError, match=r"missing\.yaml: not found; run `python -m openmedq catalogue`"):
        catalogue.read(tmp_path / "missing.yaml")
