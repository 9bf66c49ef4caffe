"""`normalize` and `deduplicate` on a Dask cluster write the bytes that a pool of processes writes."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openmedq import paths, synthetic
from openmedq.curate import deduplicate, normalize
from openmedq.datasets import registry
from openmedq.fetch import download, manifest
from openmedq.storage import cluster as openmedq_cluster
from tests.connections import read_attempts
from tests.curate.corpus import make_params
from tests.dask_cluster import DaskCluster, run_cluster

from . import toyset

pytestmark = pytest.mark.slow
pytest.importorskip("distributed", reason="distributed is not installed (extra `cluster`)")

NAMES = ("slake", "medfmc_chest")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current folder: two miniatures, downloaded."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        datasets = [registry.load(name) for name in NAMES]
        toyset.write_catalogue(*(dataset.card for dataset in datasets))
        for dataset in datasets:
            synthetic.run(make_params(), dataset)
        manifest.run(make_params())
        for dataset in datasets:
            download.run(make_params(), dataset)
        yield root


@pytest.fixture
def cluster(project: Path, tmp_path: Path) -> Iterator[DaskCluster]:
    with run_cluster(project, tmp_path, num_workers=2) as started:
        yield started
        assert read_attempts(tmp_path) == []


def _build(**execution: Any) -> dict[str, bytes]:
    params = make_params(execution=execution)
    for folder in (paths.SAMPLES, paths.VERDICTS):
        shutil.rmtree(folder, ignore_errors=True)
    for name in NAMES:
        normalize.run(params, registry.load(name))
    deduplicate.run(params)
    files = [path for folder in (paths.SAMPLES, paths.VERDICTS) for path in sorted(folder.rglob("*.*"))]
    return {str(path): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def expected(project: Path) -> dict[str, bytes]:
    found = _build(workers=1)
    assert {str(paths.SAMPLES / name / "shard-00000.parquet") for name in NAMES} < set(found)
    return found


TASKS = {"encode_image", "_search", "_compare_with"}  # the first of normalize, the others of deduplicate


def test_a_cluster_writes_the_same_bytes(
    cluster: DaskCluster, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    submit = openmedq_cluster.Cluster.submit

    def spy(self: openmedq_cluster.Cluster, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        names.append(fn.__name__)
        return submit(self, fn, *args, **kwargs)

    monkeypatch.setattr(openmedq_cluster.Cluster, "submit", spy)
    assert _build(scheduler=cluster.address) == expected
    assert set(names) == TASKS
    assert list(paths.PARTIAL.glob("cluster-*")) == []
