"""`download`: a manifest of where a set's published files lie; what the mirror lacks is fetched, where that is wanted.

Files of a mirror are held to their hashes and never copied. What is fetched lies below data/raw/<id>/files; it is kept
when the set comes from a mirror later.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from openmedq import paths
from openmedq.config import Params
from openmedq.datasets.card import Card, Dataset, File
from openmedq.errors import ChecksumError, MirrorError
from openmedq.fetch import fetching, ledger, needs
from openmedq.storage import origin
from openmedq.storage.discretion import discreet
from openmedq.storage.progress import progress
from openmedq.storage.publish import exclusive, remove

_log = logging.getLogger(__name__)

MD5S = paths.PARTIAL / "md5-cache"
ANY = File(path="", url="")  # of which nothing is known


def run(params: Params, set_: Dataset) -> None:
    """Write the set's origin: where its files lie, held to what is known of them; or that it is absent, and why.

    Raises:
        MirrorError: it is absent, and `download.require` names it.
        AcquisitionError: it can't be fetched, or not now (PassingError).
        ChecksumError: files are not what the card pins, the hub states or the ledger remembers.
    """
    set_id = set_.card.id

    with exclusive(paths.RAW / set_id):
        found = _find(params, set_)
        if not found.is_present:
            if set_id in params.download.require:
                raise MirrorError(f"{set_id}: absent, though download.require names it: {found.reason}")
            if params.download.fetch:
                _log.warning(f"{set_id}: skipped: {found.reason}")
                if set_.card.access in needs.GUARDED and set_id not in params.download.skip:
                    _log.info(f"{set_id}: `dvc repro` looks for it again {needs.LOOK_AGAIN}")
        _write(found, paths.RAW / set_id)


def _find(params: Params, set_: Dataset) -> origin.Origin:
    """The set's files from the mirror, else from their official place, else the reason why not."""
    set_id, dials = set_.card.id, params.download
    surveyed = origin.read(paths.MANIFEST / f"{set_id}.json")
    if set_id in dials.skip:
        return origin.Origin(reason="download.skip names it")
    if surveyed.is_present:
        if surveyed.origin == "mirror":  # a miniature's bytes are generated
            check_hashes(surveyed, needs.choose(set_.card, dials), ledger.read(set_id))
        return surveyed
    if not dials.fetch:
        return origin.Origin(reason=f"not in {dials.mirror}; put its files into a folder {set_id} there")
    hindrance = needs.hindrance(set_.card, params.policy.licences)
    if hindrance is not None:
        return origin.Origin(reason=hindrance)
    with discreet(set_id, set_.card.is_credentialed):
        return fetching.fetch(set_, dials, params.execution)


def check_hashes(surveyed: origin.Origin, card: Card, recorded: ledger.Ledger) -> None:
    """Hold a mirror's files to the published sizes and hashes, as the card pins them or the ledger remembers.

    A file of the published size and other bytes is damaged: ChecksumError. One of another size is taken with a note: a
    mirror may hold a part of a set, or another packing. So is one of other bytes whose published size nobody states:
    it may be that too. Whoever wants more puts links.tsv beside the sets (`survey`).
    """
    pinned = {file.path: file for file in card.files}
    others, unsized = [], []
    for file in surveyed.files:
        pin, memory = pinned.get(file.path, ANY), recorded.get(file.path)
        size_bytes = memory.size_bytes if memory else pin.size_bytes
        sha256 = memory.sha256 if memory else pin.sha256
        if size_bytes not in (None, file.size_bytes):
            others.append(file.path)
            continue
        name, published, found = "sha256", sha256, file.sha256
        if sha256 is None and pin.md5:
            name, published, found = "md5", pin.md5, _compute_md5(surveyed, file)
        if published in (None, found):
            continue
        if size_bytes is None:
            unsized.append(file.path)
            continue
        raise ChecksumError(
            f"{surveyed.folder}/{file.path}: {name} is {found}, published is {published}; it is damaged, fetch it "
            f"again from {pin.url or card.homepage}"
        )
    _note(surveyed, card, others, "not as published (a part, or another packing)")
    _note(surveyed, card, unsized, "not as published (a part, another packing, or damaged: nobody states the size)")


def _compute_md5(surveyed: origin.Origin, file: origin.Entry) -> str:
    """Of a file whose publisher states nothing better; remembered, as its sha256 is."""
    origin.check_sizes(replace(surveyed, files=(file,)))
    path = Path(surveyed.folder or "", file.path)
    status = path.stat()
    with origin.open_hashes(MD5S, "md5") as md5s, progress(f"hashing {path}", None):
        return md5s.get(path, status) or md5s.compute(path, status)


def _note(surveyed: origin.Origin, card: Card, paths: list[str], what: str) -> None:
    if paths:
        told = f"{len(paths)} files" if card.is_credentialed or len(paths) > 1 else paths[0]
        _log.info(f"{card.id}: {told} of {surveyed.folder}: {what}")


def _write(found: origin.Origin, folder: Path) -> None:
    """Put the manifest in its place, whole; of what lay beside it, only fetched files stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        is_fetched = path.name == needs.FILES or (path.name == needs.PARTIAL and found.origin != "official")
        if not is_fetched:
            remove(path)
    aside = folder / f".{needs.MANIFEST}"
    origin.write(found, aside)
    aside.replace(folder / needs.MANIFEST)
