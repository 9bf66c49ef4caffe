"""The layouts of IU X-Ray: reports in XML (Open-i), or in two tables (Kaggle's copy).

Both yield flat records, one per image (see `Entry`). A gzipped tar can only be read forwards, so the caller reads all
reports first, and then the images in their order.
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
MAX_DEPTH = 3  # folders above a file: `<name>/images/images_normalized/`

_PACKED = (".tgz", ".tar.gz", ".tar", ".zip")
_REPORTS = tuple(f"NLMCXR_reports{suffix}" for suffix in _PACKED)
_IMAGES = tuple(
    stem + suffix for stem in ("NLMCXR_png", "images_normalized", "images", "archive") for suffix in _PACKED
)

_log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """A record and its place in the published files; `Unusable` if it cannot be read.

    Fields: `id`, `image` (file name; "" for a report without images, whose `id` is its uid), `uid`, comparison,
    indication, findings, impression, mesh_major, caption; in XML licence_url, mesh_automatic, figure_id; in tables
    problems, projection.
    """

    provenance: Provenance
    record: Record | Unusable


def open_entries(raw: Path) -> tuple[Path, Iterator[Entry]]:
    """Return the place of the reports and their entries; SourceError if there are none. Other copies are logged."""
    archive, table = find(raw, *_REPORTS), find(raw, "indiana_reports.csv")
    files, *copies = _group(find_all(raw, "ecgen-radiology/*.xml") or (find_all(raw, "*.xml") if table is None else []))
    places = [path for path in (archive, files[0].parent if files else None, table) if path]
    places += [paths[0].parent for paths in copies]
    if not places:
        expected = "`NLMCXR_reports.tgz`, or it unpacked, as published, or Kaggle's `archive.zip` unpacked"
        raise SourceError(f"{raw}: no report; expected {expected}")
    for other in places[1:]:
        _log.info("%s: not read: %s is used", other, places[0])
    if archive:
        return archive, _read_archive(raw, archive)
    if files:
        return files[0].parent, _read_files(raw, files)
    projections = find(raw, "indiana_projections.csv")
    if projections is None:
        raise SourceError(f"{places[0]}: no `indiana_projections.csv` beside it, which names the images; get it too")
    return places[0], _read_tables(raw, places[0], projections)


def _group(paths: list[Path]) -> list[list[Path]]:
    """Group files by folder, the largest group first; one empty group if there are no files."""
    folders: dict[Path, list[Path]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path)
    return sorted(folders.values(), key=len, reverse=True) or [[]]


def stream_images(raw: Path, waiting: Collection[str]) -> Iterator[tuple[str, Callable[[], Image]]]:
    """Yield names of images and functions that read them: unpacked images, then archives while `waiting` is not empty.

    ArchiveError if an archive is damaged.
    """
    for path in find_all(raw, "NLMCXR_png/*.png", "images_normalized/*.png", "*.png"):
        yield path.name, partial(Image, path.name, path=path)
    for archive in find_all(raw, *_IMAGES):
        if not waiting:
            _log.info("%s: not read: all images were found before", archive)
            continue
        with open_members(archive) as members:
            for member in members.names:  # in the archive's order, to read it only once
                name = PurePosixPath(member).name
                if name.endswith(".png") and not _is_hidden(member):
                    yield name, partial(_unpack, members, member, name)


def _unpack(members: Members, member: str, name: str) -> Image:
    return Image(name, data=members.read(member))


def find_all(raw: Path, *patterns: str) -> list[Path]:
    """Find files by name in the folder and up to MAX_DEPTH folders below, by pattern, then the uppermost first."""
    inner = [folder for folder, _, _ in folders.walk(raw, MAX_DEPTH)]
    found = dict.fromkeys(path for name in patterns for folder in inner for path in folders.find_all(folder, name))
    return [path for path in found if not _is_hidden(path.name) and path.is_file()]


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") and part != "." for part in name.split("/"))  # files of operating systems


def find(raw: Path, *patterns: str) -> Path | None:
    """Return the first result of `find_all`, or None."""
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
    """Yield an entry for each image that the report names, or one for the report."""
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
            "image": f"{image_id}.png",
            "caption": element.findtext("caption", ""),
            "figure_id": element.findtext("figureId", ""),
        }
        yield Entry(Provenance(file, to_line(f"{where}parentImage {number}")), report | image)
    if not images:
        yield Entry(Provenance(file, to_line(f"{where}report")), report | {"id": report["uid"], "image": ""})


def _parse(data: bytes) -> ElementTree.Element:
    """Parse a report. A DOCTYPE, which could declare entities to expand or to fetch, is refused."""
    if len(data) > MAX_REPORT_BYTES:
        raise Unusable(Reason.FIELD_MISSING, f"the report has more than {MAX_REPORT_BYTES} bytes")
    if found := unexpected.describe(data):
        raise Unusable(Reason.FIELD_MISSING, f"the report is {found[0]}; {found[1]}")
    text = decode_text(data)  # the declared encoding is ignored
    if any("\udc00" <= character <= "\udfff" for character in text):
        raise Unusable(Reason.NOT_UTF8, "the report is not UTF-8")
    if "<!DOCTYPE" in text:
        raise Unusable(Reason.FIELD_MISSING, "the report declares a DOCTYPE: refused")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:  # its text may quote the report
        line, column = error.position
        raise Unusable(Reason.FIELD_MISSING, f"the report is not XML: line {line}, column {column}") from None
    if root.tag != "eCitation":
        raise Unusable(Reason.FIELD_MISSING, "the XML is not an `eCitation`")
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

_RENAMED = {"mesh_major": "MeSH", "problems": "Problems", "caption": "image"}  # field: Kaggle's column


def _read_tables(raw: Path, table: Path, projections: Path) -> Iterator[Entry]:
    """Yield an entry for each row of `projections`, and one for each report without such a row."""
    reports: dict[str, tuple[Provenance, dict[str, str]]] = {}
    for provenance, row in _stream_rows(raw, table, *_SECTIONS):
        if isinstance(row, Unusable):
            yield Entry(provenance, row)
        elif row["uid"] in reports:
            yield Entry(provenance, Unusable(Reason.ID_REPEATED, f"{row['uid']} is the `uid` of an earlier report too"))
        else:
            report = {name: row[name] for name in ("uid", *_SECTIONS)}
            report |= {ours: row.get(theirs, "") for ours, theirs in _RENAMED.items()}
            reports[row["uid"]] = (provenance, report | {"id": row["uid"], "image": ""})

    with_images = set()
    for provenance, row in _stream_rows(raw, projections, "filename"):
        if isinstance(row, Unusable):
            yield Entry(provenance, row)
        elif row["uid"] not in reports:
            yield Entry(provenance, Unusable(Reason.FIELD_MISSING, "no report has its `uid`"))
        else:
            with_images.add(row["uid"])
            name = PurePosixPath(row["filename"].replace("\\", "/").strip()).name
            image = {"id": _to_id(name.removesuffix(".png")), "image": name}
            _, report = reports[row["uid"]]
            yield Entry(provenance, report | image | {"projection": row.get("projection", "")})
    yield from (Entry(*report) for uid, report in reports.items() if uid not in with_images)


def _stream_rows(raw: Path, path: Path, *needed: str) -> Iterator[tuple[Provenance, dict[str, str] | Unusable]]:
    """Yield the rows with the `uid` of the XML, so that both layouts have the same ids of studies."""
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
