import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from openmedq import paths
from openmedq.errors import StaleError
from openmedq.reporting import summary
from tests.stages.results import call_miniatures, write_run


def show(width: int = 80) -> str:
    file = io.StringIO()
    summary.show(Console(file=file, width=width))
    return file.getvalue()


@pytest.mark.usefixtures("finished")
def test_shows_scores_waterfall_and_where_to_look() -> None:
    text = show()
    for words in ("open_vqa", "secret_vqa", "BLEU-1", "Exact", "baseline", "0.810 (0.70-0.90)"):
        assert words in text
    for words in ("found", "read", "rejected", "duplicate", "kept out", "17 train", "8 evaluation", "absent"):
        assert words in text
    assert "open_vqa: 2 rejected: image missing" in text
    assert "absent_vqa  absent" in text
    assert re.search(r"^  clean rows +15 ", text, re.MULTILINE)  # of the 19 that were asked
    for words in ("data/report/index.html", "make ui", "data/docs/index.html"):
        assert words in text
    assert re.search(r"data/report/index.html +missing; `dvc repro` writes it", text)
    paths.REPORT.mkdir(exist_ok=True)
    (paths.REPORT / "index.html").touch()
    assert re.search(r"data/report/index.html +scores, examples", show())


@pytest.mark.usefixtures("finished")
def test_fits_a_terminal_and_needs_none() -> None:
    assert max(map(len, show().splitlines())) <= 80
    assert "\x1b" not in show()
    assert show() == show()


@pytest.mark.usefixtures("finished")
def test_miniatures_are_called_so() -> None:
    assert "miniature" not in show()
    call_miniatures()
    assert "Generated miniatures, not comparable" in show()


@pytest.mark.usefixtures("empty_folder")
def test_a_pipeline_that_was_not_run_is_one_line() -> None:
    with pytest.raises(StaleError, match=r"data/mix/waterfall\.json: not found; run `dvc repro`, which writes it"):
        show()


@pytest.mark.usefixtures("empty_folder")
def test_data_without_a_model_have_a_waterfall_and_no_scores() -> None:
    write_run()
    text = show(width=200)
    assert f"No scores: {paths.EVALUATION / 'metrics.json'} not found" in text
    assert "in the mix" in text


def test_torch_is_not_loaded() -> None:
    code = "import sys, openmedq.reporting.summary; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


@pytest.mark.usefixtures("empty_folder")
def test_says_what_the_policy_kept_out() -> None:
    write_run(policy={"licences": "commercial"})
    text = show(width=200)
    assert "secret_vqa: 25 kept out: credentialed: not commercial" in text
