"""`forget`: a record, a patient, a study or a picture is excluded for good, from the next `dvc repro` on."""

from __future__ import annotations

from contextlib import closing

import duckdb

from openmedq import layout
from openmedq.cards import catalogue
from openmedq.errors import ParamsError
from openmedq.io import forgotten
from openmedq.io.publish import replace_text
from openmedq.io.shards import find_shards

_COUNT = """
    SELECT count(*) FROM read_parquet($shards)
    WHERE id = $name OR groups.patient = $name OR groups.study = $name
        OR list_contains(list_transform(pictures, lambda picture: picture.image_id), $name)
"""


def forget(name: str, set_id: str | None = None) -> dict[str, int]:
    """Put the name on the list of every set that holds it, or, unseen, of `set_id`; how many rows each set has of it.

    ParamsError where the name is empty, no set on disk holds it, or there is no such set. It does not repeat the name,
    which may be a patient's.
    """
    if not name.strip():
        raise ParamsError(
            "no id was given; a record is SET/ID, a patient, a study or a picture is called as in its set"
        )
    known = catalogue.read(layout.CATALOGUE)
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
    digests = forgotten.read(layout.FORGOTTEN)
    for each in found:
        digests[each] = [*digests.get(each, []), forgotten.digest(name)]
    replace_text(layout.FORGOTTEN, forgotten.render(digests, known))
    return found


def _count(set_id: str, name: str) -> int:
    """Rows of a set on disk that would go."""
    shards = [str(shard) for shard in find_shards(layout.SAMPLES / set_id)]
    if not shards:
        return 0
    with closing(duckdb.connect()) as connection:
        (number,) = connection.execute(_COUNT, {"shards": shards, "name": name}).fetchall()[0]
    return int(number)
