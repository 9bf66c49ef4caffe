"""Seeded damage of a dataset's published files: cut, flipped, swapped, otherwise encoded, or with huge values."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from tests.datasets import faults

TEXTS = (".json", ".jsonl", ".csv", ".txt", ".xml", ".tsv")
ARCHIVES = (".zip", ".npz", ".tgz", ".tar.gz")

AnyPath = TypeVar("AnyPath", bound=PurePosixPath)


@dataclass(frozen=True)
class Mutation:
    """What was changed: kind, the file below the raw folder, and a member of it."""

    kind: str
    file: str
    member: str = ""
    is_valid: bool = False  # the file is as valid as the published one: another split's in its place


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 2, 8))):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def blank(data: bytes, chance: random.Random) -> bytes:
    """A block of zeros, as a sparse copy leaves it."""
    start = chance.randrange(len(data))
    size = min(len(data) - start, chance.choice((16, 512, 4096)))
    return data[:start] + bytes(size) + data[start + size :]


def double(data: bytes, chance: random.Random) -> bytes:
    return data + data[chance.randrange(len(data)) :]


def drop(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.choice((1, 7, 300)) :]


def encode(data: bytes, chance: random.Random) -> bytes:
    """Text in another encoding, without a byte order mark, with letters that Unicode has elsewhere."""
    text = data.decode("utf-8", "replace").replace("a", "\u00e4")
    return text.encode(chance.choice(("latin-1", "cp1252", "utf-16-le", "utf-32-be", "gbk")), "replace")


def enlarge(data: bytes, chance: random.Random) -> bytes:
    """A huge number or text in place of a value."""
    found = list(re.finditer(rb"\d+|[A-Za-z]{3,}", data))
    if not found:
        return data * 2
    match = chance.choice(found)
    huge = (b"9" * 400, b"-1e999", b"x" * 2**20, b"NaN", b"[" * 2000, b'"' * 3)
    return data[: match.start()] + chance.choice(huge) + data[match.end() :]


CHANGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    each.__name__: each for each in (cut, flip, blank, double, drop, encode, enlarge)
}
TEXT_ONLY = ("encode", "enlarge")


def mutate(raw: Path, seed: int) -> Mutation | None:
    """Damage one file below `raw`; None if the damage changes nothing. The same seed makes the same damage."""
    chance = random.Random(seed)
    files = [path for path in faults.find_files(raw) if path.stat().st_size]
    path = _choose(files, chance)
    name = path.relative_to(raw).as_posix()
    kind = chance.choice([*CHANGES, "swap"])
    data = path.read_bytes()
    if kind == "swap":
        other = chance.choice([each for each in files if each != path] or files)
        path.write_bytes(other.read_bytes())
        other.write_bytes(data)
        other_name = other.relative_to(raw).as_posix()
        return Mutation(kind, name, other_name, path.suffix == other.suffix) if other != path else None
    member = ""
    if path.name.endswith(ARCHIVES) and (kind in TEXT_ONLY or chance.random() < 0.5):
        members = faults.members_of(path)
        member = str(_choose([PurePosixPath(each) for each in sorted(members) if members[each]], chance))
        member = next(each for each in members if str(PurePosixPath(each)) == member)
        before, members[member] = members[member], CHANGES[kind](members[member], chance)
        faults.pack(path, members)
        return Mutation(kind, name, member) if members[member] != before else None
    path.write_bytes(CHANGES[kind](data, chance))
    return Mutation(kind, name, member) if path.read_bytes() != data else None


def _choose(files: list[AnyPath], chance: random.Random) -> AnyPath:
    """One of the files: as often a text or an archive as one of the many images."""
    others = [path for path in files if path.suffix not in faults.IMAGES]
    return chance.choice(others if others and chance.random() < 0.7 else files)
