"""`accept`: accept that a publisher changed files, which are then downloaded again."""

from openmedq.datasets import registry
from openmedq.fetch import fetching, ledger


def run(dataset_id: str, names: list[str]) -> None:
    """Remove entries from a dataset's ledger, and move their files to another path."""
    registry.load(dataset_id)
    removed = ledger.accept(dataset_id, names)
    for name in removed:
        kept = fetching.set_aside(dataset_id, name)
        previous = f"; the previous file is kept as {kept}" if kept else ""
        print(f"{dataset_id}: {name}: will be downloaded and recorded again{previous}")
    if not removed:
        print(f"{dataset_id}: its ledger has no entry, so there is nothing to accept")
