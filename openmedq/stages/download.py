"""`download`: a manifest of where a set's published files lie. Files of a mirror are checked, never copied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openmedq import discovery, layout
from openmedq.cards import catalogue
from openmedq.errors import ChecksumError, MirrorError, ParamsError
from openmedq.io import origin
from openmedq.io.publish import publish
from openmedq.params import Params


def run(params: Params, set_id: str) -> None:
    """Write the set's origin: the surveyed files, held to the hashes that the card pins; or that it is absent."""
    known = catalogue.read(layout.CATALOGUE)
    for dial in ("require", "skip"):
        for named in getattr(params.download, dial):
            if named not in known:
                raise ParamsError(f"download.{dial}: no set {named!r}; there are {', '.join(sorted(known))}")
    entry = catalogue.check(layout.CATALOGUE, discovery.find(set_id).card)

    surveyed = origin.read(layout.SURVEY / f"{set_id}.json")
    if set_id in params.download.skip:
        surveyed = origin.Origin()
    if not surveyed.is_present and set_id in params.download.require:
        mirror = params.download.mirror
        advice = f"put its files into a folder {set_id} there, or take it out of download.require"
        raise MirrorError(f"{mirror}: lacks {set_id}, which download.require names; {advice}")
    if surveyed.origin == "mirror":  # a miniature's bytes are generated
        check_hashes(surveyed, entry["files"])

    with publish(layout.RAW / set_id) as folder:
        folder.mkdir()
        origin.write(surveyed, folder / "origin.json")


def check_hashes(surveyed: origin.Origin, pinned: Mapping[str, Mapping[str, Any]]) -> None:
    """Hold the files to the pinned sizes and hashes, where there are any; ChecksumError at the first that differs."""
    for file in surveyed.files:
        pin = pinned.get(file.path, {})
        for field in ("size_bytes", "sha256"):
            if pin.get(field) not in (None, getattr(file, field)):
                raise ChecksumError(
                    f"{surveyed.folder}/{file.path}: {field} is {getattr(file, field)}, the card says {pin[field]}; "
                    f"fetch it again from {pin['url']}"
                )
