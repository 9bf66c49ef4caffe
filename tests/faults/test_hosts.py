"""Each fault at each kind of host: the expected bytes or an error, never a part of a file, never a secret."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from openmedq import paths
from openmedq.config import Execution
from openmedq.datasets.card import File
from openmedq.errors import AcquisitionError, ChecksumError
from openmedq.fetch import fetching, needs
from openmedq.fetch.client import Client
from tests.datasets.conftest import FolderOf
from tests.faults.conftest import TOKEN, Ear, log_in
from tests.fetch.round_trip import Published, enter, fetch, hold_to_served, publish_set
from tests.servers import Server, faults, serve
from tests.servers.faults import Fault

pytestmark = pytest.mark.faults


@dataclass(frozen=True)
class Case:
    """A file at a host."""

    dataset_id: str
    path: str
    repository: str = ""  # of the hub, gated here

    @property
    def target(self) -> Path:
        return needs.folder_of(self.dataset_id) / self.path

    @property
    def temporary(self) -> Path:
        return paths.RAW / self.dataset_id / needs.PARTIAL / self.path


IMAGE = "files/*"  # the first that is listed
CASES = {
    "hub": Case("slake", "imgs.zip", repository="BoKelvin/SLAKE"),
    "hub_text": Case("slake", "train.json", repository="BoKelvin/SLAKE"),
    "zenodo": Case("vqa_med_2019", "ImageClef-2019-VQA-Med-Training.zip"),
    "open_i": Case("iu_xray", "NLMCXR_png.tgz"),
    "physionet": Case("mimic_cxr", "mimic-cxr-reports.zip"),
    "physionet_image": Case("mimic_cxr", IMAGE),
    "figshare": Case("medfmc_endo", "Endo.zip"),
}


@dataclass(frozen=True)
class Scene:
    """A case with what is served for it."""

    case: Case
    published: Published
    place: str = ""  # host and path that serve the file's bytes, in the form that faults use
    front: str = ""  # host and path of its address
    has_hash: bool = True  # the card or the host states one

    @property
    def data(self) -> bytes:
        return self.published.served(self.case.path).read()

    def draw(self, share: float = 1.0) -> int:
        """The number of a byte in the first `share` of the file."""
        return random.Random(self.place).randrange(1, int(len(self.data) * share))

    def serve(self, *striking: Fault, elsewhere: bytes | None = None):  # type: ignore[no-untyped-def]
        path = self.place.partition("/")[2]
        more = {} if elsewhere is None else {f"https://elsewhere.example.org/{path}": elsewhere}
        gated = {self.case.repository: TOKEN} if self.case.repository else {}
        return serve({**self.published.files, **more}, striking, login="wget", gated=gated)

    def fetch(self, server: Server, ear: Ear, **execution: object):  # type: ignore[no-untyped-def]
        """Download the dataset; returns its error, if any. Every file present must be complete."""
        error = ear.catch(lambda: fetch(self.published, server, **execution), server)
        hold_to_served(self.published)
        return error

    def succeed(self, server: Server, ear: Ear, **execution: object) -> None:
        error = self.fetch(server, ear, **execution)
        assert error is None, error
        assert self.case.target.read_bytes() == self.data
        assert not self.case.temporary.exists()

    def fail(self, server: Server, ear: Ear, **execution: object) -> AcquisitionError | ChecksumError:
        error = self.fetch(server, ear, **execution)
        assert isinstance(error, (AcquisitionError, ChecksumError))
        assert not self.case.target.exists()
        assert not (paths.RAW / self.case.dataset_id / "origin.json").exists()
        return error


def _describe(file: File, server: Server) -> File:
    """The file with what its host states."""

    async def ask() -> list[File]:
        async with Client(Execution(endpoints=server.endpoints)) as client:
            return await fetching.describe(client, [file])

    return asyncio.run(ask())[0]


@pytest.fixture(scope="module")
def _scene_of(miniature_of: FolderOf, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Scene]:
    @cache
    def publish(dataset_id: str) -> Published:
        return publish_set(dataset_id, miniature_of(dataset_id))

    @cache
    def find(name: str) -> Scene:
        """Download once without a fault, to find which request gets the file's bytes."""
        case, published = CASES[name], publish(CASES[name].dataset_id)
        if case.path == IMAGE:
            first = next(published.raw.glob("files/*/*/*/*.jpg")).relative_to(published.raw).as_posix()
            case = Case(case.dataset_id, first)
        scene = Scene(case, published)
        with pytest.MonkeyPatch.context() as patch, scene.serve() as server:
            patch.chdir(tmp_path_factory.mktemp("undisturbed"))
            enter(published, patch)
            log_in(patch)
            fetch(published, server)
            name_of = Path(case.path).name
            sent = [request for request in server.requests if request.num_bytes == len(scene.data)]
            own = [request for request in sent if request.path.endswith(name_of)] or sent
            (place,) = {request.place for request in own}
            for file in published.set_.card.files:
                if file.path == case.path:
                    address = urlsplit(file.url)
                    front = address.netloc + unquote(address.path).replace("/resolve/main/", "/resolve/*/")
                    has_hash = bool(_describe(file, server).sha256 or _describe(file, server).md5)
                    return Scene(case, published, place, front, has_hash)
            return Scene(case, published, place, place)

    return find


@pytest.fixture(params=CASES)
def scene(
    request: pytest.FixtureRequest, _scene_of: Callable[[str], Scene], project: Path, monkeypatch: pytest.MonkeyPatch
) -> Scene:
    found = _scene_of(request.param)
    enter(found.published, monkeypatch)
    return found


@pytest.mark.parametrize("fault", [faults.cut, faults.truncate])
def test_a_cut_or_truncated_file_resumes(scene: Scene, ear: Ear, fault: Callable[[int], Fault]) -> None:
    at = scene.draw()
    with scene.serve(fault(at).on(scene.place, times=1)) as server:
        scene.succeed(server, ear)
        first, second = server.asked(scene.place)
    assert (first.num_bytes, first.headers["Range"]) == (at, None)
    kept = int((second.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    assert kept <= at
    assert kept or at < 2**14, "partial data is requested again"
    assert second.num_bytes == len(scene.data) - kept
    assert second.status == (206 if kept else 200)


def test_a_server_that_stalls_is_asked_again(scene: Scene, ear: Ear) -> None:
    with scene.serve(faults.stall(scene.draw()).on(scene.place, times=1)) as server:
        scene.succeed(server, ear, timeout_s=0.4)
        assert len(server.asked(scene.place)) == 2


def test_another_host_gets_no_password(scene: Scene, ear: Ear) -> None:
    fault = faults.redirect_to("elsewhere.example.org").on(scene.place)
    with scene.serve(fault, elsewhere=scene.data) as server:
        scene.succeed(server, ear)
        (there,) = server.asked("elsewhere.example.org/*")
        assert not {"authorization", "cookie"} & {name.lower() for name in there.headers}


def test_a_page_where_the_address_leads_is_message(scene: Scene, ear: Ear) -> None:
    with scene.serve(faults.html().on(scene.front)) as server:
        scene.fail(server, ear, attempts=2)
        server.faults.clear()
        scene.succeed(server, ear)


def test_wrong_bytes_of_the_right_length_are_found_out(scene: Scene, ear: Ear) -> None:
    """By the published hash, else by the ledger's hash of the first download."""
    with scene.serve() as server:
        if not scene.has_hash:
            scene.succeed(server, ear)
            scene.case.target.unlink()
            (paths.RAW / scene.case.dataset_id / "origin.json").unlink()
        server.faults.append(faults.corrupt(scene.draw()).on(scene.place))
        assert isinstance(scene.fail(server, ear), ChecksumError)
        if not scene.has_hash:
            scene.case.temporary.unlink()  # kept for `accept`
        server.faults.clear()
        scene.succeed(server, ear)


def test_a_part_with_wrong_bytes_before_it_is_found_out(scene: Scene, ear: Ear) -> None:
    """Parts of two versions are not joined."""
    other, at = scene.data[:4] + scene.data[:3:-1], scene.draw()  # keeps the magic bytes
    with scene.serve(faults.change(other).on(scene.place, times=1), faults.cut(at).on(scene.place, times=1)) as server:
        scene.succeed(server, ear)
