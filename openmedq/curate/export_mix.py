"""The mix in a format that other trainers read, with its cards.

The rows are divided into shards by the index alone. A shard is written under a temporary name and renamed when it is
complete, so that an interrupted run continues with the first missing shard. One row group is in memory at a time.
"""

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from openmedq import config, paths
from openmedq.config import Licences
from openmedq.curate import forget
from openmedq.curate.export_formats import FORMATS, UNFINISHED, Format
from openmedq.datasets.card import Access
from openmedq.datasets.licences import refuse
from openmedq.errors import ExportError, ParamsError, numbered
from openmedq.schema import Role
from openmedq.storage.progress import progress
from openmedq.storage.publish import exclusive, remove, replace_text, replacing
from openmedq.storage.shards import ShardStore, find_shards
from openmedq.storage.tables import COUNTS, read_index

SHARD_SIZE_BYTES = 256 * 2**20  # estimated with IMAGE_SIZE_BYTES, because the index has no sizes
IMAGE_SIZE_BYTES = 100_000
STATE = Path(UNFINISHED, "export.json")  # in the target: what the unfinished export is made of

_NUM_NAMED = 5

WriteCards = Callable[[Path, pa.Table, Format, Licences], None]  # target, exported rows of the index


def run(
    target: Path, form: str, write_cards: WriteCards, sources: Sequence[str] = (), roles: Sequence[str] = ()
) -> None:
    """Write the rows of the mix, or those of some sources and roles, into the folder `target`, and then the cards.

    Raises:
        ParamsError: the mix has no row of a source or role.
        ExportError: policy.licences does not allow a row, or `target` contains something else.
        StaleError: an output of a stage is missing or damaged, or has rows that are excluded since.
    """
    policy = config.load(paths.PARAMS).policy.licences
    index = select(read_index(), sources, roles)
    if refused := list(_list_refused(index, policy)):
        if len(refused) > _NUM_NAMED:
            refused = [*refused[:_NUM_NAMED], f"and {len(refused) - _NUM_NAMED} more"]
        raise ExportError(
            f"policy.licences: {policy} does not allow {'; '.join(refused)}; run `dvc repro mix` under this policy, "
            "or leave sources out with --source"
        )
    forget.check_samples(pc.unique(index["source"]).to_pylist())
    kind = FORMATS[form]
    with exclusive(target):
        _claim(target, form, index)
        num_rows = _write(target, kind, index)
        write_cards(target, index, kind, policy)
        remove(target / UNFINISHED)
    print(f"{target}: {numbered(num_rows, 'row')} as {form}, allowed by policy.licences: {policy}")


def select(index: pa.Table, sources: Sequence[str], roles: Sequence[str]) -> pa.Table:
    """The rows of the index of some sources and roles, or of all; ParamsError for a source or role without rows."""
    for name, values in (("source", sources), ("role", roles)):
        known = pc.unique(index[name]).to_pylist()
        for value in values:
            if value not in known:
                raise ParamsError(f"--{name}: the mix has no row of {value}; it has {', '.join(known) or 'no row'}")
        if values:
            index = index.filter(pc.is_in(index[name], pa.array(values)))
    if not len(index):
        raise ParamsError("the mix has no row of these sources and roles; see data/mix/waterfall.json")
    return index


def _list_refused(index: pa.Table, policy: Licences) -> Iterator[str]:
    columns = [index[name].to_pylist() for name in ("source", "licence", "access")]
    for (source, licence, access), number in sorted(Counter(zip(*columns, strict=True)).items()):
        if reason := refuse(licence, policy, is_credentialed=access == Access.CREDENTIALED):
            yield f"{numbered(number, 'row')} of {source} ({reason})"


def _claim(target: Path, form: str, index: pa.Table) -> None:
    """Make the folder, or continue an interrupted export of the same rows; ExportError if it has other files."""
    state = {"format": form, "sha256": _identify(index)}
    path = target / STATE
    if path.is_file():
        if json.loads(path.read_text(encoding="utf-8")) != state:
            raise ExportError(
                f"{target}: contains an unfinished export of other rows or in another format; choose another folder"
            )
        return
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ExportError(f"{target}: exists and is not an unfinished export; choose another folder")
    replace_text(path, json.dumps(state) + "\n")


def _identify(index: pa.Table) -> str:
    """A hash of the rows, and of the shards that contain them by their sizes."""
    digest = hashlib.sha256()
    for column in index.columns:
        digest.update("\n".join(map(str, column.to_pylist())).encode())
    for source in pc.unique(index["source"]).to_pylist():
        folder = paths.SAMPLES / source
        digest.update((folder / COUNTS).read_bytes())
        digest.update(str([(path.name, path.stat().st_size) for path in find_shards(folder)]).encode())
    return digest.hexdigest()


def _write(target: Path, kind: Format, index: pa.Table) -> int:
    """Write the missing shards; return the number of rows of all."""
    shards: Mapping[str, list[pa.Table]] = {
        role: _divide(index.filter(pc.equal(index["role"], role))) for role in map(str, Role)
    }
    store = ShardStore(paths.SAMPLES)
    with progress("exporting rows", len(index)) as advance:
        for role, parts in shards.items():
            for number, part in enumerate(parts):
                path = target / kind.name(role, number, len(parts))
                if not path.exists():
                    weights = part["weight"].to_pylist()
                    samples = store.take(part, num_groups=2)
                    with replacing(path) as temporary:
                        kind.write(target, temporary, role, zip(samples, weights, strict=True))
                advance(len(part))
            if parts and kind.finish:
                kind.finish(
                    target, role, [target / kind.name(role, number, len(parts)) for number in range(len(parts))]
                )
    return sum(len(part) for parts in shards.values() for part in parts)


def _divide(index: pa.Table) -> list[pa.Table]:
    """The rows in parts of about SHARD_SIZE_BYTES, in order."""
    images = np.asarray(index["num_images"], np.int64) * IMAGE_SIZE_BYTES
    sizes = (images + np.asarray(index["num_chars"], np.int64)).cumsum()
    numbers = sizes // SHARD_SIZE_BYTES
    starts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(index)] if len(index) else []
    return [index.slice(start, end - start) for start, end in itertools.pairwise(starts)]
