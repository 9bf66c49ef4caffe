from pathlib import Path

import pytest

from openmedq.datasets.readers.pmc_licences import ARTICLES, read_article_licences
from openmedq.errors import SourceError

HEADER = "File,Article Citation,AccessionID,Last Updated (YYYY-MM-DD HH:MM:SS),PMID,License"


def write(folder: Path, *lines: str, header: str = HEADER) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ARTICLES.path).write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return folder


def line(article: str, licence: str) -> str:
    citation = '"J, with a comma. 2019; 2(1):55"'
    return f"oa_package/08/e0/{article}.tar.gz,{citation},{article},2022-01-01 10:10:10,11056684,{licence}"


def test_an_articles_licence_is_found_in_any_order(tmp_path: Path) -> None:
    write(
        tmp_path,
        line("PMC20", "CC BY-NC"),
        line("PMC3", "CC0"),
        line("PMC100", "NO-CC CODE"),
        line("PMC7", "Odd words"),
    )
    licences = read_article_licences(tmp_path)
    asked = ("PMC3", "PMC20", "PMC100", "PMC7", "PMC4", "PMC101", None, "", "3", "PMC99999999999")
    assert [licences.find(each) for each in asked] == [
        *("CC0-1.0", "CC-BY-NC", "no CC licence", "Odd words"),
        *[""] * 6,
    ]


def test_odd_rows_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "short,row", line("no id", "CC BY"), line("PMC5", "CC BY"))
    assert read_article_licences(tmp_path).find("PMC5") == "CC-BY"
    assert "2 rows without a PMC id" in caplog.text


@pytest.mark.parametrize(("header", "column"), [(HEADER.replace("License", "L"), "License"), ("a,b", "AccessionID")])
def test_a_missing_column_is_named(tmp_path: Path, header: str, column: str) -> None:
    with pytest.raises(SourceError, match=rf"{ARTICLES.path}: no column `{column}`"):
        read_article_licences(write(tmp_path, line("PMC1", "CC BY"), header=header))
