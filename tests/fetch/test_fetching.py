import errno
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from openmedq.config import Download, Execution
from openmedq.datasets.card import Access, Edition, File
from openmedq.errors import AcquisitionError, ChecksumError, OpenMedQError, ParamsError, StaleError, TemporaryError
from openmedq.fetch import fetching, file, ledger, needs
from tests.fetch.conftest import HOST, URL, Fetch, make_files, make_set, read_all
from tests.servers import faults, serve

DATA = {"a.csv": b"id\n1\n", "images/b.zip": b"PK" * 5000 + b"PK\5\6" + bytes(18), "c.json": b"[]"}
SITE = {f"{URL}{path}": data for path, data in DATA.items()}
FILES = make_files(DATA)
FOLDER = Path("data/raw/toy_set/files")


def test_all_files_come_and_are_written_into_the_ledger(fetch: Fetch, logged: Callable[[], str]) -> None:
    with serve(SITE) as server:
        found = fetch(server, make_set(FILES))
    assert "toy_set: 3 files downloaded\n" in logged()
    assert found.origin == "official"
    assert read_all(found) == DATA
    assert [entry.path for entry in found.files] == sorted(DATA)
    tree = yaml.safe_load(Path("data/ledger/toy_set.yaml").read_text())
    assert tree == {
        entry.path: {"url": f"{URL}{entry.path}", "sha256": entry.sha256, "size_bytes": entry.size_bytes}
        for entry in found.files
    }


def test_only_what_is_missing_or_damaged_is_fetched(fetch: Fetch) -> None:
    with serve(SITE) as server:
        fetch(server, make_set(FILES))
        (FOLDER / "a.csv").unlink()
        (FOLDER / "c.json").write_bytes(b"{}")
        server.requests.clear()
        assert read_all(fetch(server, make_set(FILES))) == DATA
        assert sorted(request.path for request in server.requests) == ["/imgs/a.csv", "/imgs/c.json"]


def test_a_later_change_is_refused_until_it_is_accepted(fetch: Fetch) -> None:
    with serve(SITE) as server:
        fetch(server, make_set(FILES))
        (FOLDER / "a.csv").unlink()
        server.faults.append(faults.change(b"id\n2\n").on(f"{HOST}/imgs/a.csv"))
        for _ in range(2):
            with pytest.raises(
                ChecksumError, match=r"data/ledger/toy_set\.yaml records 5 with \w+; .*accept toy_set a\.csv"
            ):
                fetch(server, make_set(FILES))
            assert not (FOLDER / "a.csv").exists()
        assert ledger.accept("toy_set", ["a.csv"]) == ["a.csv"]
        assert read_all(fetch(server, make_set(FILES)))["a.csv"] == b"id\n2\n"
        assert ledger.read("toy_set")["a.csv"].size_bytes == 5
        fetch(server, make_set(FILES))


def test_accept_names_what_there_is() -> None:
    with pytest.raises(ParamsError, match=r"^data/ledger/toy_set\.yaml: no entry 'a'; it has none$"):
        ledger.accept("toy_set", ["a"])
    entry = ledger.Entry("https://example.org/b", "0" * 64, 1)
    ledger.write("toy_set", {"b": entry, "c": entry})
    assert ledger.accept("toy_set", []) == ["b", "c"]
    assert not Path("data/ledger/toy_set.yaml").exists()


@pytest.mark.parametrize(
    "text",
    [
        *("[1]", "a: {url: x}", "{", "\x00", "a: {url: x, sha256: 1, size_bytes: 1}", "a: 2001-99-99"),
        pytest.param("[" * 3000, id="deep"),
    ],
)
def test_a_damaged_ledger_is_one_line(text: str) -> None:
    Path("data/ledger").mkdir(parents=True)
    Path("data/ledger/toy_set.yaml").write_text(text)
    with pytest.raises(
        StaleError, match=r"^data/ledger/toy_set\.yaml: not a ledger; restore it with `git checkout .*, or remove it"
    ):
        ledger.read("toy_set")


def test_what_is_packed_anew_each_time_is_not_remembered(fetch: Fetch) -> None:
    files = (FILES[0].model_copy(update={"is_stable": False}),)
    with serve(SITE) as server:
        fetch(server, make_set(files))
        (FOLDER / "a.csv").unlink()
        server.faults.append(faults.change(b"id\n2\n"))
        assert read_all(fetch(server, make_set(files))) == {"a.csv": b"id\n2\n"}
    assert ledger.read("toy_set") == {}


def test_failures_are_told_together_and_the_rest_comes(fetch: Fetch) -> None:
    broken = [faults.not_found().on("*/a.csv"), faults.status(500).on("*/c.json")]
    with serve(SITE, broken) as server:
        with pytest.raises(AcquisitionError, match=r"^https.*404 Not Found.*; 2 files of toy_set failed$") as error:
            fetch(server, make_set(FILES))
        assert not isinstance(error.value, TemporaryError), "one of them is permanent"
        assert "\n" not in str(error.value)
        assert (FOLDER / "images/b.zip").read_bytes() == DATA["images/b.zip"]
        server.faults[:] = [faults.status(500).on("*/a.csv"), faults.status(500).on("*/c.json")]
        with pytest.raises(TemporaryError, match=r"2 files of toy_set failed$"):
            fetch(server, make_set(FILES))
        server.faults.clear()
        assert read_all(fetch(server, make_set(FILES))) == DATA


def test_a_file_that_the_set_does_not_have_is_no_part_of_it(fetch: Fetch) -> None:
    with serve(SITE) as server:
        fetch(server, make_set(FILES))
        with pytest.raises(StaleError, match=r"^data/raw/toy_set/files/c\.json: not a file of"):
            fetch(server, make_set(FILES[:2]))


def test_a_set_that_the_disk_cant_take_is_not_begun(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs.shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    files = tuple(file.model_copy(update={"size_bytes": len(DATA[file.path])}) for file in FILES)
    with serve(SITE) as server:
        with pytest.raises(
            AcquisitionError, match=r"^data/raw: 0\.0 GB are free, toy_set needs 0\.0 GB; free some space, or leave"
        ):
            fetch(server, make_set(files))
        assert not server.requests
        begun = needs.partial_of("toy_set", files[1])  # takes no more room
        begun.parent.mkdir(parents=True)
        begun.write_bytes(DATA["images/b.zip"][:-10])
        pinned = files[1].model_copy(update={"sha256": hashlib.sha256(DATA["images/b.zip"]).hexdigest()})
        monkeypatch.setattr(needs.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
        assert read_all(fetch(server, make_set((pinned,)))) == {"images/b.zip": DATA["images/b.zip"]}


def test_a_full_disk_is_one_line_and_the_next_download_succeeds(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(self: object, chunk: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with serve(SITE) as server:
        message = r"^data/raw/toy_set/files: the disk is full; free some space and run"
        with monkeypatch.context() as patch, pytest.raises(AcquisitionError, match=message):
            patch.setattr(file._Download, "_add", fill)  # called once the chunk is written
            fetch(server, make_set(FILES[1:2]))
        assert not (FOLDER / "images/b.zip").exists()
        assert read_all(fetch(server, make_set(FILES[1:2]))) == {"images/b.zip": DATA["images/b.zip"]}


def test_terms_are_shown_before_the_first_byte(fetch: Fetch, logged: Callable[[], str]) -> None:
    with serve(SITE, [faults.status(500)]) as server:
        with pytest.raises(TemporaryError):
            fetch(server, make_set(FILES, terms="1. Tell nobody.", access=Access.CREDENTIALED), attempts=1)
        assert "1. Tell nobody." in logged()


def test_further_files_are_those_that_the_first_ones_name(fetch: Fetch) -> None:
    further = {"files/p1/x.jpg": b"x" * 100, "files/p2/y.jpg": b"y" * 100}
    set_ = make_set(FILES)

    def more_files(raw: Path) -> Iterator[File]:
        assert (raw / "a.csv").read_bytes() == DATA["a.csv"]
        yield from make_files(further, is_pinned=True)

    vars(set_)["more_files"] = more_files
    with serve(SITE | {f"{URL}{path}": data for path, data in further.items()}) as server:
        assert read_all(fetch(server, set_)) == DATA | further
        num_requests = len(server.requests)
        fetch(server, set_)
        assert len(server.requests) == num_requests
    assert not {name for name in ledger.read("toy_set") if name.startswith("files/")}, "git has no such names"


def test_pictures_of_a_credentialed_set_are_not_named(
    fetch: Fetch, capsys: pytest.CaptureFixture[str], logged: Callable[[], str]
) -> None:
    """Their paths have patient ids."""
    further = {"files/p10/p10073094/x.jpg": b"x" * 100}
    set_ = make_set(FILES, access=Access.CREDENTIALED)
    vars(set_)["more_files"] = lambda raw: iter(make_files(further, is_pinned=True))
    for fault in (
        faults.not_found(),
        faults.status(500),
        faults.html(),
        faults.corrupt(),
        faults.redirect_to(f"{URL}y"),
    ):
        site = SITE | {f"{URL}{path}": data for path, data in further.items()}
        with serve(site, [fault.on("*/p10073094/*")]) as server, pytest.raises(OpenMedQError) as error:
            fetch(server, set_)
        assert "an image" in str(error.value) or HOST in str(error.value)
        assert "10073094" not in str(error.value) + repr(error.value) + "".join(capsys.readouterr()) + logged()


def test_an_edition_is_fetched_in_place_of_the_files() -> None:
    other = make_files({"v2.csv": b"id\n2\n"})
    set_ = make_set(FILES, editions={"v2": Edition(files=other)}, linked_bytes=10)
    with serve(SITE | {f"{URL}v2.csv": b"id\n2\n"}) as server:
        execution = Execution(endpoints=server.endpoints)
        found = fetching.fetch(set_, Download(editions={"toy_set": "v2", "other_set": "x"}), execution)
        assert read_all(found) == {"v2.csv": b"id\n2\n"}
        with pytest.raises(StaleError, match=r"v2\.csv: not a file of this dataset's card; remove it"):
            fetching.fetch(set_, Download(), execution)


def test_a_file_that_someone_put_there_is_held_to_what_is_promised(fetch: Fetch) -> None:
    """Before the ledger records it as the first download."""
    size_bytes, md5 = len(DATA["a.csv"]), hashlib.md5(DATA["a.csv"]).hexdigest()
    for pin in ({"size_bytes": size_bytes}, {"md5": md5}, {"about_bytes": size_bytes}):
        files = (FILES[0].model_copy(update=pin),)
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / "a.csv").write_bytes(b"other!" if "md5" in pin else b"longer than it")
        with serve(SITE) as server:
            with pytest.raises(StaleError, match=r"^data/raw/toy_set/files/a\.csv: not the published file; remove it"):
                fetch(server, make_set(files))
            (FOLDER / "a.csv").write_bytes(DATA["a.csv"])
            server.requests.clear()
            fetch(server, make_set(files))
            assert not server.requests
        Path("data/ledger/toy_set.yaml").unlink()


def test_a_host_that_has_nothing_is_not_asked_for_everything(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MAX_FAILURES", 2)
    with serve(SITE, [faults.not_found()]) as server:
        with pytest.raises(AcquisitionError, match="; 2 files of toy_set failed; the remaining files were not tried"):
            fetch(server, make_set(FILES), connections=1)
        assert len(server.requests) == 2
