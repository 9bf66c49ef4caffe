"""The layouts of IU X-Ray: reports in XML (Open-i), or in two tables (Kaggle's copy).

Both yield flat records, one per image, with the fields `id`, `image` (file name; "" for a report without images, whose
`id` is its uid), `uid`, comparison, indication, findings, impression, mesh_major, caption; in XML licence_url,
mesh_automatic, figure_id; in tables problems, projection.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from openmedq.datasets.fields import Unusable, decode_file, to_line
from openmedq.datasets.readers import ARCHIVE_SUFFIXES, find_below, find_files_below, use_first
from openmedq.datasets.readers.tables import stream_table
from openmedq.errors import ArchiveError, SourceError
from openmedq.schema import Provenance, Reason
from openmedq.storage.archives import open_members
from openmedq.storage.folders import find_all

MAX_REPORT_BYTES = 2**20  # the longest published one has 8,967

_KAGGLE = "images_normalized/"  # in `images/`, which is in `versions/<number>/` where kagglehub unpacks
IMAGE_FILES = tuple(f"{place}*.[pP][nN][gG]" for place in ("NLMCXR_png/", _KAGGLE, f"images/{_KAGGLE}", ""))
IMAGE_ARCHIVES = (
    *(f"NLMCXR_png{suffix}" for suffix in ARCHIVE_SUFFIXES),
    "images_normalized.zip",
    "images.zip",
    "archive.zip",
)

_SECTIONS = ("comparison", "indication", "findings", "impression")
_TABLES = ("indiana_reports.csv", "indiana_projections.csv")

_Record = tuple[Provenance, dict[str, str] | Unusable]


def open_reports(raw: Path) -> tuple[Path, Iterator[_Record]]:
    """Return the place of the reports and their records; SourceError if there are none. Other copies are logged."""
    archives = find_files_below(raw, *(f"NLMCXR_reports{suffix}" for suffix in ARCHIVE_SUFFIXES))
    folders = [folder for folder in find_below(raw, "ecgen-radiology") if find_all(folder, "*.xml")]
    tables = find_files_below(raw, _TABLES[0])
    if not (archives or folders or tables):
        expected = "`NLMCXR_reports.tgz`, or it unpacked, as published, or Kaggle's `archive.zip` unpacked"
        raise SourceError(f"{raw}: no report; expected {expected}")
    place = use_first([*archives, *folders, *tables])
    if archives:
        return place, _read_archive(raw, place)
    if folders:
        return place, _read_folder(raw, place)
    projections = find_files_below(raw, _TABLES[1])
    if not projections:
        raise SourceError(f"{place}: no `{_TABLES[1]}`, which lists the images; put it beside this file")
    return place, _read_tables(raw, place, projections[0])


# Open-i: a report is an XML file --------------------------------------------------------------------------------------


def _read_archive(raw: Path, path: Path) -> Iterator[_Record]:
    file = path.relative_to(raw).as_posix()
    with open_members(path) as members:
        for member in members.names:
            if member.endswith(".xml"):
                yield from _read_report(partial(members.read, member), file, f"{member}, ")


def _read_folder(raw: Path, folder: Path) -> Iterator[_Record]:
    for path in find_all(folder, "*.xml"):
        yield from _read_report(path.read_bytes, path.relative_to(raw).as_posix(), "")


def _read_report(load: Callable[[], bytes], file: str, where: str) -> Iterator[_Record]:
    """Yield a record for each image that the report names, or one for the report."""
    whole = Provenance(file, to_line(f"{where}report"))
    try:
        root = _parse(load())
        report = _take_report(root)
    except (Unusable, ArchiveError) as error:
        yield whole, error if isinstance(error, Unusable) else Unusable(Reason.FIELD_MISSING, str(error))
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
        yield Provenance(file, to_line(f"{where}parentImage {number}")), report | image
    if not images:
        yield whole, report | {"id": report["uid"], "image": ""}


def _parse(data: bytes) -> ElementTree.Element:
    """Parse a report. A DOCTYPE, which could declare entities to expand or to fetch, is refused."""
    if len(data) > MAX_REPORT_BYTES:
        raise Unusable(Reason.FIELD_MISSING, f"the report has more than {MAX_REPORT_BYTES} bytes")
    text = decode_file(data, "the report")  # the declared encoding is ignored
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


def _read_tables(raw: Path, table: Path, projections: Path) -> Iterator[_Record]:
    """Yield a record for each row of `projections`, and one for each report without such a row."""
    reports: dict[str, tuple[Provenance, dict[str, str]]] = {}
    for provenance, row in _stream_rows(raw, table, *_SECTIONS):
        if isinstance(row, Unusable):
            yield provenance, row
        elif row["uid"] in reports:
            yield provenance, Unusable(Reason.ID_REPEATED, f"{row['uid']} is the `uid` of an earlier report too")
        else:
            report = {name: row[name] for name in ("uid", *_SECTIONS)}
            report |= {ours: row.get(theirs, "") for ours, theirs in _RENAMED.items()}
            reports[row["uid"]] = (provenance, report | {"id": row["uid"], "image": ""})

    with_images = set()
    for provenance, row in _stream_rows(raw, projections, "filename"):
        if isinstance(row, Unusable):
            yield provenance, row
        elif row["uid"] not in reports:
            yield provenance, Unusable(Reason.FIELD_MISSING, "no report has its `uid`")
        else:
            with_images.add(row["uid"])
            name = PurePosixPath(row["filename"].replace("\\", "/").strip()).name
            image = {"id": _to_id(name.removesuffix(".png")), "image": name}
            _, report = reports[row["uid"]]
            yield provenance, report | image | {"projection": row.get("projection", "")}
    yield from (report for uid, report in reports.items() if uid not in with_images)


def _stream_rows(raw: Path, path: Path, *needed: str) -> Iterator[_Record]:
    """Yield the rows with the `uid` of the XML, so that both layouts have the same ids of studies."""
    for line, row in stream_table(path, ("uid", *needed)):
        if isinstance(row, dict):
            uid = _to_id(row["uid"])
            row = row | {"uid": f"CXR{uid}"} if uid else Unusable(Reason.FIELD_MISSING, "field `uid` is empty")
        yield Provenance(path.relative_to(raw).as_posix(), f"line {line}"), row


def _to_id(name: str) -> str:
    return "_".join(name.split())
