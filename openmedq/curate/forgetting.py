"""`forget`: a record, a patient, a study or a picture is excluded for good, from the next `dvc repro` on."""

from __future__ import annotations

from openmedq import paths
from openmedq.curate import forgotten
from openmedq.datasets import catalogue
from openmedq.errors import ParamsError
from openmedq.storage.publish import replace_text
from openmedq.storage.shards import ShardStore

_NAMED = ["id", "groups.patient", "groups.study", "pictures.list.element.image_id"]


def forget(name: str, set_id: str | None = None) -> dict[str, int]:
    """Put the name on the list of every set that holds it, or, unseen, of `set_id`; how many rows each set has of it.

    ParamsError where the name is empty, no set on disk holds it, or there is no such set. It does not repeat the name,
    which may be a patient's.
    """
    if not name.strip():
        raise ParamsError(
            "no id was given; a record is SET/ID, a patient, a study or a picture is called as in its set"
        )
    known = catalogue.read(paths.CATALOGUE)
    if set_id is not None and set_id not in known:
        raise ParamsError(f"{set_id}: no such set; there are {', '.join(known)}")
    found = {each: _count(each, name) for each in ([set_id] if set_id else known)}
    if set_id is None:
        found = {each: number for each, number in found.items() if number}
    if not found:
        raise ParamsError(
            "no row on disk is a record, or of a patient, a study or a picture, of that id; "
            "`--set ID` excludes it from a set that is not read yet"
        )
    digests = forgotten.read(paths.FORGOTTEN)
    for each in found:
        digests[each] = [*digests.get(each, []), forgotten.digest(name)]
    replace_text(paths.FORGOTTEN, forgotten.render(digests, known))
    return found


def _count(set_id: str, name: str) -> int:
    """Rows of a set on disk that would go."""
    return sum(
        name in (row["id"], *row["groups"].values(), *(picture["image_id"] for picture in row["pictures"]))
        for group in ShardStore(paths.SAMPLES / set_id).scan(_NAMED)
        for row in group.rows.to_pylist()
    )
