"""The hub's server is asked by huggingface_hub itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile, RepoFolder

from tests.servers import Server, serve

pytestmark = pytest.mark.faults  # what `make test-faults` stands on

REPO = "RadGenome/PMC-VQA"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"README.md": b"# PMC-VQA\n", "images 1.zip": bytes(range(256)), "data/deep/train.parquet": b"PAR1"} | {
    f"data/part-{number:02}.csv": b"a,b\n" * number for number in range(1, 12)
}


@pytest.fixture
def server() -> Iterator[Server]:
    base = f"https://huggingface.co/datasets/{REPO}/resolve/{COMMIT}"
    with serve({f"{base}/{name.replace(' ', '%20')}": data for name, data in FILES.items()}) as running:
        yield running


@pytest.fixture
def api(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HfApi:
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    return HfApi(endpoint=server.hub, token=False)


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_tree(api: HfApi, server: Server, revision: str | None) -> None:
    entries = list(api.list_repo_tree(REPO, repo_type="dataset", recursive=True, revision=revision))
    files = {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
    assert {name: entry.size for name, entry in files.items()} == {name: len(data) for name, data in FILES.items()}
    assert {entry.path for entry in entries if isinstance(entry, RepoFolder)} == {"data", "data/deep"}
    lfs = files["images 1.zip"].lfs
    assert lfs is not None and lfs.sha256 == hashlib.sha256(FILES["images 1.zip"]).hexdigest()
    assert files["README.md"].lfs is None
    assert len(server.asked("huggingface.co/api/*")) > 2  # pages


def test_tree_of_a_folder(api: HfApi) -> None:
    entries = list(api.list_repo_tree(REPO, "data", repo_type="dataset"))
    assert "data/deep" in {entry.path for entry in entries} and len(entries) == 12
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree(REPO, "nowhere", repo_type="dataset"))


def test_paths_info(api: HfApi) -> None:
    found = api.get_paths_info(REPO, ["README.md", "data/deep", "absent"], repo_type="dataset")
    assert [entry.path for entry in found] == ["README.md", "data/deep"]
    assert api.get_paths_info(REPO, "data/part-03.csv", repo_type="dataset")[0].size == 12  # type: ignore[union-attr]


def test_dataset_info(api: HfApi) -> None:
    info = api.dataset_info(REPO, files_metadata=True)
    assert info.sha == COMMIT
    siblings = {each.rfilename: each for each in info.siblings or ()}
    assert siblings.keys() == FILES.keys()
    assert siblings["data/deep/train.parquet"].size == 4
    assert siblings["data/deep/train.parquet"].lfs["sha256"] == hashlib.sha256(b"PAR1").hexdigest()  # type: ignore[index]
    assert api.dataset_info(REPO, revision=COMMIT).sha == COMMIT


@pytest.mark.parametrize("name", ["README.md", "images 1.zip", "data/part-02.csv"])
def test_metadata_and_download(api: HfApi, server: Server, tmp_path: Path, name: str) -> None:
    url = hf_hub_url(REPO, name, repo_type="dataset", endpoint=server.hub)
    metadata = get_hf_file_metadata(url, token=False, endpoint=server.hub)
    assert (metadata.commit_hash, metadata.size) == (COMMIT, len(FILES[name]))
    if name != "README.md":
        assert metadata.etag == hashlib.sha256(FILES[name]).hexdigest()
        assert metadata.location.startswith(server.site.other)
    path = hf_hub_download(
        REPO, name, repo_type="dataset", endpoint=server.hub, cache_dir=tmp_path, token=False, revision=COMMIT
    )
    assert Path(path).read_bytes() == FILES[name]


def test_what_is_not_there(api: HfApi, server: Server) -> None:
    with pytest.raises(RepositoryNotFoundError):
        api.dataset_info("nobody/nothing")
    with pytest.raises(RevisionNotFoundError):
        api.dataset_info(REPO, revision="v9")
    with pytest.raises(EntryNotFoundError):
        get_hf_file_metadata(hf_hub_url(REPO, "absent", repo_type="dataset", endpoint=server.hub), token=False)


def test_a_gated_repository() -> None:
    with serve({"https://huggingface.co/datasets/a/b/resolve/main/x.zip": b"PK"}, gated={"a/b": "hf_right"}) as server:
        assert HfApi(endpoint=server.hub, token=False).dataset_info("a/b").id == "a/b"
        url = hf_hub_url("a/b", "x.zip", repo_type="dataset", endpoint=server.hub)
        for token, status in ((False, 401), ("hf_wrong", 403)):
            with pytest.raises(GatedRepoError) as caught:
                get_hf_file_metadata(url, token=token)
            assert isinstance(caught.value, HfHubHTTPError) and caught.value.response.status_code == status
        assert get_hf_file_metadata(url, token="hf_right").size == 2
        assert all("Authorization" not in request.headers for request in server.asked("cdn-lfs.hf.co/*"))
