import json
from typing import Any

import pyarrow as pa
import pytest

from openmedq import paths
from openmedq.curate import deduplicate
from openmedq.curate.reasons import PAIR_SCHEMA, PAIR_TABLE
from openmedq.errors import StaleError
from openmedq.reporting.document import Block, Pairs, Text
from openmedq.reporting.examples import read_pairs
from openmedq.reporting.results import read_results
from openmedq.reporting.sections.contamination import show_contamination
from openmedq.storage.publish import remove
from openmedq.storage.tables import write_table
from tests.curate.corpus import make_params
from tests.reporting.parts import write

from .tables import read_html, read_markdown

pytestmark = pytest.mark.usefixtures("finished")

TITLES = {name: f"Title of {name}" for name in ("open_vqa", "open_text", "bench")}


def write_pairs(*pairs: tuple[str, str, str, float | None, bool]) -> None:
    write_table(
        pa.Table.from_pylist([dict(zip(PAIR_SCHEMA.names, each, strict=True)) for each in pairs], PAIR_SCHEMA),
        PAIR_TABLE,
    )


def test_the_matrix_has_each_pair_of_datasets_with_a_count_and_names_the_own_split() -> None:
    tree: dict[str, Any] = json.loads((paths.VERDICTS / "contamination.json").read_text(encoding="utf-8"))
    tree["open_vqa"]["bench"] = {"near image": {"training_rows": 1234, "kept": 0, "evaluation_rows": 1}}
    (paths.VERDICTS / "contamination.json").write_text(json.dumps(tree), encoding="utf-8")
    page, text = write()
    for tables in (read_html(page), read_markdown(text)):
        header, *rows = next(rows for rows in tables if rows[0][:2] == ["Training rows of", "Evaluation rows of"])
        assert header[2:] == ["Same pixels", "Near image"]
        assert rows == [
            ["Title of open_vqa", "Title of open_vqa (own split)", "1 (1 trained on)", "–"],
            ["", "Title of bench", "–", "1,234 (0 trained on)"],
            ["Title of secret_vqa", "Title of secret_vqa (own split)", "1 (1 trained on)", "–"],
        ]


def test_pairs_show_both_rows_and_the_line_that_overrules() -> None:
    page, text = write()
    assert page.count('<article class="pair">') == 1, "none of the credentialed dataset"
    section = page[page.index('<section id="contamination">') :].split("</section>")[0]
    assert section.count("<img ") == 2 and "secret_vqa/" not in section
    for words in ("Is &lt;b&gt;it&lt;/b&gt; large?", "Is it old?", "Same pixels", "trained on"):
        assert words in section
    assert "<code>open_vqa/other,open_vqa/8-Is,copy</code>" in section
    assert r"Is \<b\>it\</b\> large? no (Title of open\_vqa, CC0-1.0, open\_vqa/8-Is)" in text
    assert {"pair-1-evaluation-1.jpg", "pair-1-training-1.jpg"} <= {path.name for path in paths.REPORT.rglob("*.jpg")}


def test_the_line_overrules_the_decision() -> None:
    lines = [each.overruling for each in read_pairs(TITLES, 4)]
    path = paths.VERDICTS.parent / "copies.csv"
    path.write_text("\n".join(["id_a,id_b,decision", *lines]), encoding="utf-8")
    deduplicate.run(make_params())
    assert [(each.training.id, each.is_kept) for each in read_pairs(TITLES, 4)] == [("open_vqa/other", False)]


def test_pairs_of_each_tier_and_outcome_in_turn_of_open_datasets_only() -> None:
    asked = "open_vqa/8-Is"
    write_pairs(
        ("open_vqa/0-Is", asked, "near image", 0.75, False),
        ("open_vqa/0-Wh", asked, "near image", 0.8, False),
        ("open_vqa/1-Is", asked, "near image", 0.9, True),
        ("secret_vqa/1-Is", asked, "same look", 0.9, False),
        ("open_vqa/2-Is", "secret_vqa/8-Is", "same look", 0.9, False),
        ("open_text/0", "bench/0", "same series", 0.5, True),
    )
    found = [(each.training.id, each.shared) for each in read_pairs(TITLES, 2)]
    assert found == [
        ("open_vqa/1-Is", "Near image, evidence 0.900"),
        ("open_vqa/0-Is", "Near image, evidence 0.750"),
        ("open_text/0", "Same series, evidence 0.500"),
    ]


def test_pairs_that_are_older_than_the_shards() -> None:
    write_pairs(("open_vqa/gone", "open_vqa/8-Is", "same pixels", None, False))
    with pytest.raises(StaleError, match=r"pairs.parquet: is older than the shards; .* deduplicate"):
        write()


def show() -> list[Block]:
    return list(show_contamination(read_results(), []))


def test_a_run_without_counts_or_without_shared_rows() -> None:
    assert not any(isinstance(block, Pairs) for block in show()) and len(show()) > 1
    (paths.VERDICTS / "contamination.json").write_text("{}", encoding="utf-8")
    (block,) = show()
    assert isinstance(block, Text) and "No training row shares an image" in block.text
    remove(paths.VERDICTS)
    assert show() == []
