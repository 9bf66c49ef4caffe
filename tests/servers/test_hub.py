"""The hub's server answers as huggingface_hub expects of the real one, whose API the client reads by itself."""

from __future__ import annotations

import hashlib

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from tests.servers import serve

REPO = "RadGenome/PMC-VQA"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"README.md": b"# PMC-VQA\n", "images.zip": bytes(range(256)), "data/deep/train.parquet": b"PAR1"}


def test_huggingface_hub_reads_the_same_sizes_and_hashes() -> None:
    base = f"https://huggingface.co/datasets/{REPO}/resolve/{COMMIT}"
    with serve({f"{base}/{name}": data for name, data in FILES.items()}) as server:
        api = HfApi(endpoint=server.url("https://huggingface.co"), token=False)
        for revision in (None, "main", COMMIT):
            info = api.dataset_info(REPO, revision=revision, files_metadata=True)
            assert info.sha == COMMIT
            siblings = {each.rfilename: each for each in info.siblings or ()}
            assert {name: each.size for name, each in siblings.items()} == {n: len(data) for n, data in FILES.items()}
            assert siblings["README.md"].lfs is None
            lfs = siblings["images.zip"].lfs
            assert lfs is not None
            assert lfs["sha256"] == hashlib.sha256(FILES["images.zip"]).hexdigest()
        with pytest.raises(RepositoryNotFoundError):
            api.dataset_info("nobody/nothing")
        with pytest.raises(RevisionNotFoundError):
            api.dataset_info(REPO, revision="v9")
