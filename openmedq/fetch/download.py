"""Stage `download`: data/raw/<id>/origin.json with the paths and hashes of a dataset's published files.

Files of the local data folder, and of local datasets, are checked and never copied. If the folder lacks a dataset and
`download.fetch` is true, its files are downloaded to data/raw/<id>/files, where they stay even if the local data folder
has the dataset later.
"""

import logging
from pathlib import Path

from openmedq import paths
from openmedq.config import Params
from openmedq.datasets.card import Card, Dataset, File
from openmedq.errors import ChecksumError, LocalFolderError, numbered
from openmedq.fetch import fetching, ledger, needs
from openmedq.fetch.manifest import hash_files
from openmedq.storage import origin
from openmedq.storage.publish import exclusive, remove, replacing
from openmedq.storage.redact import redact_paths

_log = logging.getLogger(__name__)


def run(params: Params, dataset: Dataset) -> None:
    """Write the dataset's origin.json: paths and hashes of its files, or the reason why it is absent.

    Raises:
        LocalFolderError: it is absent, and `download.require` names it.
        AcquisitionError: it cannot be downloaded, or not now (TemporaryError).
        ChecksumError: files differ from the hash of the card, the host or the ledger.
    """
    dataset_id = dataset.card.id
    with exclusive(paths.RAW / dataset_id):
        found = _find(params, dataset)
        if not found.is_present:
            if dataset_id in params.download.require:
                raise LocalFolderError(f"{dataset_id}: absent, but download.require names it: {found.reason}")
            if params.download.fetch:
                _log.warning(f"{dataset_id}: skipped: {found.reason}")
                if dataset.card.access in needs.GUARDED and dataset_id not in params.download.skip:
                    _log.info(f"{dataset_id}: `dvc repro` tries again {needs.REQUIRE}")
        _write(found, paths.RAW / dataset_id)


def _find(params: Params, dataset: Dataset) -> origin.Origin:
    """The files in the local data folder, else the downloaded ones, else the reason why there are none."""
    dataset_id, settings = dataset.card.id, params.download
    if dataset_id in settings.skip:
        return origin.Origin(reason="download.skip names it")
    if declared := dataset.card.local:
        return hash_files({dataset_id: (dataset.card, Path(declared.folder))}, "local")[dataset_id]
    local = origin.read(paths.MANIFEST / f"{dataset_id}.json")
    if local.is_present:
        if local.origin == "mirror":  # miniatures are generated
            _check_hashes(local, dataset.card.choose(settings.editions.get(dataset_id)), ledger.read(dataset_id))
        return local
    if not settings.fetch:
        return origin.Origin(reason=f"not in {settings.mirror}; put its files into a folder {dataset_id} there")
    reason = needs.reason_to_skip(dataset.card, params.policy.licences)
    if reason is not None:
        return origin.Origin(reason=reason)
    with redact_paths(dataset_id, dataset.card.is_credentialed):
        return fetching.fetch(dataset, settings, params.execution)


def _check_hashes(local: origin.Origin, card: Card, recorded: ledger.Ledger) -> None:
    """Compare local files with the size and hash that the ledger records or the card pins.

    A file of the published size and another hash is damaged: ChecksumError. A file of another size is logged and used:
    it may be a part of the dataset, or another packaging. So is a file of another hash if its published size is
    unknown.
    """
    pinned = {file.path: file for file in card.files}
    differing = []
    for file in local.files:
        pin, entry = pinned.get(file.path, File(path="", url="")), recorded.get(file.path)
        size_bytes, sha256 = (entry.size_bytes, entry.sha256) if entry else (pin.size_bytes, pin.sha256)
        if size_bytes not in (None, file.size_bytes):
            differing.append(file.path)
            continue
        name, published, found = "sha256", sha256, file.sha256
        if sha256 is None and pin.md5:
            name, published, found = "md5", pin.md5, origin.compute_md5(Path(local.folder or "", file.path))
        if published in (None, found):
            continue
        if size_bytes is not None:
            raise ChecksumError(
                f"{local.folder}/{file.path}: {name} is {found}, published is {published}; the file is damaged, "
                f"download it again from {pin.url or card.homepage}"
            )
        differing.append(file.path)
    if differing:
        files = numbered(len(differing), "file") if card.is_credentialed or len(differing) > 1 else differing[0]
        _log.info(f"{card.id}: {files} of {local.folder}: not as published (a part, another packaging, or damaged)")


def _write(found: origin.Origin, folder: Path) -> None:
    """Replace origin.json; keep downloaded files, and partial ones unless the download is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        is_kept = path.name == needs.FILES or (path.name == needs.PARTIAL and found.origin != "official")
        if not is_kept:
            remove(path)
    with replacing(folder / needs.ORIGIN) as temporary:
        origin.write(found, temporary)
