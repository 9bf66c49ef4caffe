from typing import Any

import PIL.Image
import pytest

from openmedq.curate import deduplicate, mix
from openmedq.curate.promises import PROMISES, Promises
from openmedq.datasets import registry
from openmedq.errors import ValidationError
from tests.curate.corpus import make_params, write_sets
from tests.stages.test_validate import CARDS, _project, _red, _rows, _template, _verdict, validate
from tests.storage.drawing import save

__all__ = ["_project", "_template"]  # fixtures of every test


KEPT: dict[str, Any] = {
    "answers": ("b", "A chest film.", "yes", "a mass"),
    "sides_px": (48, 64),
    "modes": ("L", "RGB"),
    "yes_share": (0.5, 1),
    "max_foreign": 0.2,
}
BROKEN: dict[str, Any] = {
    "answers": ("b", "yes"),
    "sides_px": (49, 64),
    "modes": ("L",),
    "yes_share": (0.2, 0.9),
    "max_foreign": 0.1,
}


def test_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = _rows()
    rows[2]["turns"][0]["context"] = "\u8fd9\u662f \u00b5"  # one of five rows
    for each in (image for one in rows for image in one["images"]):
        each["image"]["bytes"] = save(PIL.Image.new("RGB", (64, 48)), "PNG")
    write_sets(rows, CARDS)
    deduplicate.run(make_params())
    mix.run(make_params())
    monkeypatch.setitem(PROMISES, "open_set", Promises(**KEPT))
    validate.run(make_params())
    monkeypatch.setitem(PROMISES, "open_set", Promises(**BROKEN))
    rows[0]["images"][0]["width"] = 63
    write_sets(rows, CARDS)
    assert _red() == {
        "datasets": [
            "texts are in the language of the dataset",
            "yes is answered as often as the dataset promises, or less often",
        ],
        "promises": [
            "answers are in the dataset's vocabulary",
            "images have the modes of the dataset",
            "images have the sizes of the dataset",
            "images have the sizes that are stated",
        ],
    }
    for finding in (each for each in _verdict()["expectations"] if not each["success"]):
        assert "open_set" in finding["observed"]
        assert finding["examples"], "ids of rows"


def test_a_row_with_another_licence_than_the_card_is_named() -> None:
    rows = _rows()
    rows[1]["licence"] = "MIT"
    write_sets(rows, CARDS)
    mix.run(make_params())
    found = r"in table promises: licences are the card's \(open_set: 1 of 5 rows, such as open_set/2\)"
    with pytest.raises(ValidationError, match=found):
        validate.run(make_params())
    write_sets(rows, {**CARDS, "open_set": {"has_row_licences": True}})
    validate.run(make_params())


def test_an_image_that_cannot_be_read_has_no_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROMISES, "open_set", Promises(modes=("L",)))
    rows = _rows()
    rows[0]["images"][0]["image"]["bytes"] = b"none"
    write_sets(rows, CARDS)
    assert "images have the modes of the dataset" in _red()["promises"]


def test_promises_are_of_known_datasets() -> None:
    assert set(PROMISES) <= set(registry.MODULES)
