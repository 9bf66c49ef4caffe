"""Radiographs with reports as Open-i publishes them, and as Kaggle's copy does: a report in XML, or in two tables.

Both come as flat records, one for each picture (see `Entry`). A gzipped tar can only be read forwards, so
whoever reads takes the reports first and then the pictures as they lie.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from xml.etree import ElementTree

from openmedq.datasets.fields import Record, Unusable, take_text, to_line
from openmedq.datasets.readers.tables import stream_table
from openmedq.errors import ArchiveError, SourceError
from openmedq.schema import Image, Provenance, Reason
from openmedq.storage import folders, unexpected
from openmedq.storage.archives import Members, open_members
from openmedq.storage.texts import decode_text

_SECTIONS = ("comparison", "indication", "findings", "impression")
MAX_REPORT_BYTES = 2**20  # the longest published one has 8,967
MAX_DEPTH = 3  # folders above a file: `<mirror's>/images/images_normalized/`

_PACKED = (".tgz", ".tar.gz", ".tar", ".zip")
_REPORTS = tuple(f"NLMCXR_reports{suffix}" for suffix in _PACKED)
_PICTURES = tuple(
    stem + suffix for stem in ("NLMCXR_png", "images_normalized", "images", "archive") for suffix in _PACKED
)

_log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """A record and where it stands; `Unusable` says what is wrong with one that can't be read.

    Its fields: `id`, `picture` (a file's name; "" for a report that names none, and then `id` is the uid), `uid`,
    comparison, indication, findings, impression, mesh_major, caption; in XML licence_url, mesh_automatic, figure_id;
    in tables problems, projection.
    """

    provenance: Provenance
    record: Record | Unusable


def open_entries(raw: Path) -> tuple[Path, Iterator[Entry]]:
    """Where the reports are, and their entries; SourceError where there are none. Other copies are named in the log."""
    archive, table, derived = (
        find(raw, *names) for names in (_REPORTS, ("indiana_reports.csv",), ("annotation.json",))
    )
    files, *copies = _group(find_all(raw, "ecgen-radiology/*.xml") or (find_all(raw, "*.xml") if table is None else []))
    places = [path for path in (archive, files[0].parent if files else None, table, derived) if path]
    places += [paths[0].parent for paths in copies]
    if not places or places[0] == derived:
        what = f"{derived}: R2Gen's copy, with a split of its own, is not read" if derived else f"{raw}: no report"
        packed = ", or Kaggle's `archive.zip` unpacked" if find(raw, "archive.zip") else ""
        raise SourceError(f"{what}; expected `NLMCXR_reports.tgz`, or it unpacked, as published{packed}")
    for other in places[1:]:
        _log.info("%s: not read: %s is there", other, places[0])
    if archive:
        return archive, _read_archive(raw, archive)
    if files:
        return files[0].parent, _read_files(raw, files)
    projections = find(raw, "indiana_projections.csv")
    if projections is None:
        raise SourceError(f"{places[0]}: no `indiana_projections.csv` beside it, which names the pictures; get it too")
    return places[0], _read_tables(raw, places[0], projections)


def _group(paths: list[Path]) -> list[list[Path]]:
    """The files by folder, first those of the fullest; a list that is empty where there are none."""
    folders: dict[Path, list[Path]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path)
    return sorted(folders.values(), key=len, reverse=True) or [[]]


def stream_pictures(raw: Path, waiting: Collection[str]) -> Iterator[tuple[str, Callable[[], Image]]]:
    """Each picture's name and how to take it, as they lie: the loose ones, then archived ones while any is waited for.

    ArchiveError where an archive is not whole.
    """
    for path in find_all(raw, "NLMCXR_png/*.png", "images_normalized/*.png", "*.png"):
        yield path.name, partial(Image, path.name, path=path)
    for archive in find_all(raw, *_PICTURES):
        if not waiting:
            _log.info("%s: not read: all pictures are there", archive)
            continue
        with open_members(archive) as members:
            for member in members.names:  # in the archive's order: see `open_members`
                name = PurePosixPath(member).name
                if name.endswith(".png") and not _is_hidden(member):
                    yield name, partial(_unpack, members, member, name)


def _unpack(members: Members, member: str, name: str) -> Image:
    return Image(name, data=members.read(member))


def find_all(raw: Path, *patterns: str) -> list[Path]:
    """Files of that name in the folder and up to MAX_DEPTH folders below, by pattern, then the uppermost first."""
    inner = [folder for folder, _, _ in folders.walk(raw, MAX_DEPTH)]
    found = dict.fromkeys(path for name in patterns for folder in inner for path in folders.find_all(folder, name))
    return [path for path in found if not _is_hidden(path.name) and path.is_file()]


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") and part != "." for part in name.split("/"))  # a file system's notes, thumbnails


def find(raw: Path, *patterns: str) -> Path | None:
    """The first that `find_all` finds."""
    return next(iter(find_all(raw, *patterns)), None)


# Open-i: a report is an XML file --------------------------------------------------------------------------------------


def _read_archive(raw: Path, path: Path) -> Iterator[Entry]:
    file = path.relative_to(raw).as_posix()
    with open_members(path) as members:
        for member in members.names:
            if member.endswith(".xml") and not _is_hidden(member):
                yield from _read_report(partial(members.read, member), file, f"{member}, ")


def _read_files(raw: Path, paths: list[Path]) -> Iterator[Entry]:
    for path in paths:
        yield from _read_report(partial(_read_bounded, path), path.relative_to(raw).as_posix(), "")


def _read_bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_REPORT_BYTES + 1)


def _read_report(load: Callable[[], bytes], file: str, where: str) -> Iterator[Entry]:
    """An entry for each picture that the report names, or one for the report."""
    try:
        root = _parse(load())
        report = _take_report(root)
    except (Unusable, ArchiveError) as error:
        problem = error if isinstance(error, Unusable) else Unusable(Reason.FIELD_MISSING, str(error))
        yield Entry(Provenance(file, to_line(f"{where}report")), problem)
        return
    images = root.findall("parentImage")
    for number, element in enumerate(images, start=1):
        image_id = _to_id(_attribute(element, "id"))
        image = {
            "id": image_id,
            "picture": f"{image_id}.png",
            "caption": element.findtext("caption", ""),
            "figure_id": element.findtext("figureId", ""),
        }
        yield Entry(Provenance(file, to_line(f"{where}parentImage {number}")), report | image)
    if not images:
        yield Entry(Provenance(file, to_line(f"{where}report")), report | {"id": report["uid"], "picture": ""})


def _parse(data: bytes) -> ElementTree.Element:
    """The report's root. Entities are declared in a DOCTYPE alone: without one there is none to expand or to fetch."""
    if len(data) > MAX_REPORT_BYTES:
        raise Unusable(Reason.FIELD_MISSING, f"the report has more than {MAX_REPORT_BYTES} bytes")
    if found := unexpected.describe(data):
        raise Unusable(Reason.FIELD_MISSING, f"the report is {found[0]}; {found[1]}")
    text = decode_text(data)  # whatever the file declares
    if any("\udc00" <= character <= "\udfff" for character in text):
        raise Unusable(Reason.NOT_UTF8, "the report is not UTF-8")
    if "<!DOCTYPE" in text:
        raise Unusable(Reason.FIELD_MISSING, "the report declares a DOCTYPE: refused")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:  # its text may repeat the report's
        line, column = error.position
        raise Unusable(Reason.FIELD_MISSING, f"the report is no XML: line {line}, column {column}") from None
    if root.tag != "eCitation":
        raise Unusable(Reason.FIELD_MISSING, "the XML is no `eCitation`")
    return root


def _take_report(root: ElementTree.Element) -> dict[str, str]:
    sections: dict[str, str] = {}
    for element in root.iter("AbstractText"):
        label, text = _attribute(element, "Label").lower(), "".join(element.itertext()).strip()
        if label in _SECTIONS:
            sections[label] = f"{sections[label]}\n{text}" if sections.get(label) else text
    if not sections:
        raise Unusable(Reason.FIELD_MISSING, "no `AbstractText` with a known `Label`")
    mesh = {
        f"mesh_{kind}": ";".join(filter(None, ((term.text or "").strip() for term in root.findall(f"MeSH/{kind}"))))
        for kind in ("major", "automatic")
    }
    uid = _to_id(_attribute(root.find("uId"), "id"))
    return sections | mesh | {"uid": uid, "licence_url": root.findtext("licenseURL", "")}


def _attribute(element: ElementTree.Element | None, name: str) -> str:
    return "" if element is None else element.get(name, "").strip()


# Kaggle: two tables ---------------------------------------------------------------------------------------------------

_RENAMED = {"mesh_major": "MeSH", "problems": "Problems", "caption": "image"}  # ours: Kaggle's


def _read_tables(raw: Path, table: Path, projections: Path) -> Iterator[Entry]:
    """An entry for each row of `projections`, and one for each report that none of them is of."""
    reports: dict[str, tuple[Provenance, dict[str, str]]] = {}
    for provenance, row in _stream_rows(raw, table, *_SECTIONS):
        if isinstance(row, Unusable):
            yield Entry(provenance, row)
        elif row["uid"] in reports:
            yield Entry(provenance, Unusable(Reason.ID_REPEATED, f"{row['uid']} stands for an earlier report too"))
        else:
            report = {name: row[name] for name in ("uid", *_SECTIONS)}
            report |= {ours: row.get(theirs, "") for ours, theirs in _RENAMED.items()}
            reports[row["uid"]] = (provenance, report | {"id": row["uid"], "picture": ""})

    pictured = set()
    for provenance, row in _stream_rows(raw, projections, "filename"):
        if isinstance(row, Unusable):
            yield Entry(provenance, row)
        elif row["uid"] not in reports:
            yield Entry(provenance, Unusable(Reason.FIELD_MISSING, "no report has its `uid`"))
        else:
            pictured.add(row["uid"])
            name = PurePosixPath(row["filename"].replace("\\", "/").strip()).name
            picture = {"id": _to_id(name.removesuffix(".png")), "picture": name}
            _, report = reports[row["uid"]]
            yield Entry(provenance, report | picture | {"projection": row.get("projection", "")})
    yield from (Entry(*report) for uid, report in reports.items() if uid not in pictured)


def _stream_rows(raw: Path, path: Path, *needed: str) -> Iterator[tuple[Provenance, dict[str, str] | Unusable]]:
    """The rows with a `uid` as it is in the XML, so that a study is called alike in both layouts."""
    for line, row in stream_table(path, ("uid", *needed)):
        provenance = Provenance(path.relative_to(raw).as_posix(), f"line {line}")
        try:
            if isinstance(row, Unusable):
                raise row
            yield provenance, row | {"uid": f"CXR{_to_id(take_text(row, 'uid'))}"}
        except Unusable as problem:
            yield provenance, problem


def _to_id(name: str) -> str:
    return "_".join(name.split())
