"""Tables and folders as Excel, pandas, macOS and Windows write them."""

import unicodedata
from pathlib import Path

import pytest

from openmedq.errors import SourceError
from openmedq.schema import Reason
from tests.stages import owndata

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_csv_may_have_semicolons_or_tabs(delimiter: str) -> None:
    owndata.write_images("a.png")
    rows = (("q", "a", "file"), ('"Where, exactly?"', "left", "a.png"))
    Path("own/table.csv").write_text("".join(f"{delimiter.join(row)}\n" for row in rows), encoding="utf-16")
    samples, rejected = owndata.read()
    assert not rejected and samples["2"].turns[0].question == "Where, exactly?"
    with pytest.raises(
        SourceError, match=r"^own/table\.csv: no column `x`; it has q, a, file; correct local\.own\.col"
    ):
        owndata.read(columns=owndata.COLUMNS | {"answer": "x"})


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_umlauts_of_file_names_may_be_composed_or_not(form: str) -> None:
    owndata.write_images(unicodedata.normalize(form, "Größe/Mäx.PNG"))
    forms = ("NFC", "NFD")
    owndata.write_csv(
        {"q": "Where?", "a": "left", "file": unicodedata.normalize(each, name)}
        for name in ("Größe/Mäx.png", "Mäx.png")
        for each in forms
    )
    assert owndata.read()[1] == {}


def test_nan_that_pandas_wrote_is_an_empty_field() -> None:
    owndata.write_images("a.png")
    row = {"q": "Where?", "a": "left", "file": "a.png", "who": "nan"}
    owndata.write_csv([row, row | {"a": "nan"}, row | {"file": "NaN"}, row | {"a": "nan of iron"}])
    samples, rejected = owndata.read(columns=owndata.COLUMNS | {"patient": "who"})
    assert {key: item.reason for key, item in rejected.items()} == {"3": Reason.ANSWER_EMPTY, "4": Reason.FIELD_MISSING}
    assert [each.groups.patient for each in samples.values()] == [None, None]


def test_a_header_that_is_not_utf8_is_one_line() -> None:
    owndata.write_images("a.png")
    Path("own/table.csv").write_text("q;Größe;file\nWhere?;left;a.png\n", encoding="latin-1")
    with pytest.raises(SourceError, match=r"no column `Größe`; its header is not UTF-8; save it as UTF-8, in Excel as"):
        owndata.read(columns=owndata.COLUMNS | {"answer": "Größe"})


def test_spellings_of_one_image_are_in_one_split() -> None:
    owndata.write_images(*(f"x/{number}.png" for number in range(20)))
    spelled = ("x/{}.png", "x\\{}.PNG", "{}.png", "./x/{}.png")
    owndata.write_csv(
        {"q": f"{place}?", "a": "b", "file": name.format(number)}
        for number in range(20)
        for place, name in enumerate(spelled)
    )
    splits: dict[str, set[str]] = {}
    for sample in owndata.read(shares={"train": 0.5, "test": 0.5})[0].values():
        splits.setdefault(sample.images[0].image_id, set()).add(sample.split)
    assert len(splits) == 20 and all(len(each) == 1 for each in splits.values())
