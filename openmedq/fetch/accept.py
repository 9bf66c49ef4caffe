"""`accept`: accept that a publisher changed files, which are then downloaded again."""

from openmedq.datasets import registry
from openmedq.fetch import ledger, needs


def run(dataset_id: str, names: list[str]) -> None:
    """Remove entries from a dataset's ledger, and their files."""
    registry.load(dataset_id)
    removed = ledger.accept(dataset_id, names)
    for name in removed:
        (needs.folder_of(dataset_id) / name).unlink(missing_ok=True)
        print(f"{dataset_id}: {name}: will be downloaded and recorded again")
    if not removed:
        print(f"{dataset_id}: no recorded file, so nothing to accept")
