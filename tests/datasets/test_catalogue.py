"""The catalogue says what the cards say, in DVC's words, and is refused when it doesn't."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from openmedq.datasets import BENCHMARKS, SOURCES, catalogue, registry
from openmedq.datasets.card import Card
from openmedq.errors import SourceError, StaleError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def card() -> Card:
    return SOURCES["vqa_rad"].card


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "catalogue.yaml").write_text(catalogue.render(SOURCES, BENCHMARKS), encoding="utf-8")
    return tmp_path / "catalogue.yaml"


def test_the_committed_catalogue_is_the_cards() -> None:
    expected = catalogue.render(SOURCES, BENCHMARKS)
    assert (ROOT / "data" / "catalogue.yaml").read_text(encoding="utf-8") == expected


def test_every_entry_is_plain_data_and_names_its_module(path: Path) -> None:
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))["sources"]
    assert set(entries) == set(SOURCES) | set(BENCHMARKS)
    for set_id, entry in entries.items():
        assert (ROOT / entry["module"]).is_file()
        assert entry["kind"] == ("source" if set_id in SOURCES else "benchmark")
        catalogue.check(path, registry.find(set_id).card)


def test_the_text_does_not_depend_on_the_order() -> None:
    backwards = dict(reversed(SOURCES.items()))
    assert catalogue.render(backwards, BENCHMARKS) == catalogue.render(SOURCES, BENCHMARKS)


@pytest.mark.parametrize(
    "change", [{"licence": "MIT"}, {"roles": {}}, {"files": ()}, {"title": "x"}, {"published_rows": {"train": 1}}]
)
def test_a_changed_card_is_noticed(path: Path, card: Card, change: dict[str, object]) -> None:
    assert catalogue.check(path, card)["title"] == card.title
    with pytest.raises(StaleError, match=r"catalogue\.yaml: vqa_rad differs from its card; run `python -m openmedq c"):
        catalogue.check(path, card.model_copy(update=change))


def test_a_new_card_is_noticed(tmp_path: Path, card: Card) -> None:
    others = {set_id: SimpleNamespace(card=set_.card) for set_id, set_ in SOURCES.items() if set_id != "vqa_rad"}
    (tmp_path / "catalogue.yaml").write_text(catalogue.render(others, {}), encoding="utf-8")
    with pytest.raises(StaleError, match="vqa_rad differs"):
        catalogue.check(tmp_path / "catalogue.yaml", card)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "sources: 3",
        "sources: {x: 3}",
        "sources: {x: {}}",
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


def test_a_set_is_found_wherever_it_lives() -> None:
    assert registry.find("vqa_rad") is SOURCES["vqa_rad"]
    assert registry.find("pneumonia_mnist") is BENCHMARKS["pneumonia_mnist"]
    with pytest.raises(SourceError, match=r"^vqarad: no such set; there are .*pubmedqa.*pneumonia_mnist"):
        registry.find("vqarad")
