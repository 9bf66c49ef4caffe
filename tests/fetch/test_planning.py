import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from openmedq.datasets.card import Access, Dataset, File
from openmedq.fetch import needs, planning
from tests.curate.corpus import make_params
from tests.stages import toyset

URL = "https://example.org/toy/"
FILES = (
    File(path="questions.json", url=f"{URL}questions.json", size_bytes=2_000_000, sha256="a" * 64),
    File(path="pictures.zip", url=f"{URL}pictures.zip", about_bytes=1_500_000_000, md5="b" * 32),
    File(path="licence.txt", url=f"{URL}licence.txt"),
)


def make_sets(**update: Any) -> dict[str, Dataset]:
    card = toyset.CARD.model_copy(update={"files": FILES, **update})
    return {card.id: toyset.make_set(card=card)}


def plan(sets: dict[str, Dataset], **sections: Any) -> planning.Step:
    sections.setdefault("download", {"mirror": "supplied", "fetch": True})
    (step,) = planning.plan(make_params(**sections), sets)
    return step


def show(steps: list[planning.Step], *, fetch: bool = True) -> tuple[str, bool]:
    text = io.StringIO()
    params = make_params(download={"mirror": "supplied", "fetch": fetch})
    has_room = planning.show(Console(file=text, width=100), steps, params.download)
    return " ".join(text.getvalue().split()), has_room


def lie(path: str, num_bytes: int, where: Path | None = None) -> None:
    target = (where or needs.folder_of("toy_set")) / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(bytes(num_bytes))


def test_all_is_to_be_fetched_and_unknown_sizes_are_named() -> None:
    step = plan(make_sets())
    assert step.skipped is None
    assert (step.num_bytes, step.num_unsized) == (1_502_000_000, 1)
    text, _ = show([step])
    assert "toy_set 1.5 GB + ? - 3.0 GB + ?" in text
    assert "Sizes are approximate, without 1 file of unknown size." in text


def test_what_is_here_and_what_is_begun_is_not_fetched_again() -> None:
    lie("questions.json", 2_000_000)
    lie("pictures.zip", 500_000_000 // 100, needs.folder_of("toy_set").parent / needs.PARTIAL)
    step = plan(make_sets())
    assert step.present_bytes == 7_000_000
    assert step.num_bytes == 1_495_000_000
    for file in FILES:
        lie(file.path, 1)
    assert plan(make_sets()).skipped == "downloaded"


@pytest.mark.parametrize(
    ("update", "sections", "message"),
    [
        ({}, {"download": {"mirror": "supplied", "skip": ["toy_set"]}}, "download.skip names it"),
        ({"licence": "CC-BY-NC-4.0"}, {"policy": {"licences": "commercial"}}, "licence CC-BY-NC-4.0: not commercial"),
        ({"licence": "words"}, {"policy": {"licences": "research"}}, "licence unknown (policy.licences is research)"),
        ({"access": Access.USER_SUPPLIED, "advice": "Ask."}, {}, "it cannot be downloaded by a program: Ask."),
        (
            {"access": Access.CREDENTIALED},
            {},
            "credentialed, and there are no credentials for example.org: add `machine",
        ),
    ],
)
def test_what_is_skipped_says_why(update: dict[str, Any], sections: dict[str, Any], message: str) -> None:
    step = plan(make_sets(**update), **sections)
    assert step.skipped is not None
    assert step.skipped.startswith(message)
    assert (step.num_bytes, step.disk_bytes) == (0, 0)
    text, _ = show([step])
    assert step.skipped.split()[0] in text


def test_whether_the_disk_has_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    step = plan(make_sets())
    for free, has_room in ((10**10, True), (2 * 10**9, False)):
        monkeypatch.setattr(planning.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        text, found = show([step], fetch=has_room)
        assert found is has_room
        assert ("3.0 GB needed" in text, "NOT enough" in text) == (True, not has_room)
        assert ("download.fetch is false" in text) is not has_room


def test_what_the_mirror_holds_is_taken_from_there() -> None:
    lie("questions.json", 1, Path("supplied [old]/toy_set"))
    step = plan(make_sets(), download={"mirror": "supplied [old]", "fetch": True})
    assert step.skipped == "present in supplied [old]/toy_set"
    assert step.skipped in show([step])[0]
