"""The tables of the pages are made of the committed scores, and the recipe is the profile's."""

import runpy
from pathlib import Path

from openmedq import config, paths

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"


def test_the_tables_hold_the_committed_scores() -> None:
    for page, table in runpy.run_path(str(RESULTS / "collect.py"))["make_tables"]():
        assert table in (ROOT / page).read_text(encoding="utf-8"), "python results/collect.py prints the tables"


def test_the_runs_are_of_the_profile_real() -> None:
    profile = config.profile(ROOT / paths.CONF, "real").model_dump()
    images = config.load(RESULTS / "images" / "params.yaml").model_dump()
    assert images == profile | {"report": images["report"]}  # without examples: data stay out of the repository
    alone = config.load(RESULTS / "question-only" / "params.yaml").model_dump()
    assert alone.pop("train") == profile.pop("train") | {"with_images": False}
    assert alone == profile


def test_no_image_of_the_data_is_committed() -> None:
    assert {path.suffix for path in RESULTS.rglob("*") if path.is_file()} <= {
        ".json",
        ".yaml",
        ".md",
        ".svg",
        ".html",
        ".py",
    }
    page = (RESULTS / "images" / "report" / "index.html").read_text(encoding="utf-8")
    assert "data:image/jpeg" not in page and "data:image/png" not in page
