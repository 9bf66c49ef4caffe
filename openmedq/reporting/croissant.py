"""croissant.json of an export: Croissant 1.1 with the properties of its responsible-AI vocabulary (RAI 1.0).

Source: croissant-spec-1.1 and croissant-rai-spec of https://docs.mlcommons.org/croissant/docs/. An export has no web
page, creator or date of publication, so `url`, `creator` and `datePublished` are missing; whoever publishes it adds
them.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openmedq.curate.export_formats import Format
from openmedq.errors import numbered
from openmedq.reporting.mix_facts import MixFacts
from openmedq.schema import Role

_TERMS = {  # of Croissant, without a prefix
    name: f"cr:{name}"
    for name in (
        *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject"),
        *("fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5"),
        *("parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate"),
        *("separator", "source", "subField", "transform"),
    )
}
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    **_TERMS,
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
}
_SPLITS = {Role.TRAIN: "cr:TrainingSplit", Role.VALIDATION: "cr:ValidationSplit", Role.EVALUATION: "cr:TestSplit"}
_FILES = "row-files"
_IMAGES = "image-files"


def describe(target: Path, facts: MixFacts, form: Format) -> dict[str, Any]:
    """The description of the files of `target`; hashes them."""
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": "openmedq-mix",
        "description": facts.summary,
        "license": [{"@type": "sc:CreativeWork", "name": name} for name in facts.licences_of()],
        "citeAs": "; ".join(data.card.citation for data in facts.sources.values() if data.card.citation),
        "inLanguage": list(facts.languages),
        "keywords": ["medical", *sorted(facts.tally("task"))],
        "version": "1.0.0",  # an export does not change
        "isLiveDataset": False,
        **_describe_responsibly(facts),
        "distribution": [*_list_files(target, facts, form)],
        **({"recordSet": [_describe_splits(facts), _describe_rows()]} if form.media_type.endswith("parquet") else {}),
    }


def _describe_responsibly(facts: MixFacts) -> dict[str, Any]:
    """The properties that the counts and cards answer; the others of RAI 1.0 are not known."""
    sources = [
        f"{data.card.title}: {data.card.homepage or 'no public page'}; files: {data.origin}"
        for data in facts.sources.values()
    ]
    sensitive = ["Health data: medical images, reports and questions. The pipeline does not verify de-identification."]
    sensitive += [
        f"{title}: {numbered(number, 'row')} of credentialed or private access"
        for title, number in facts.restricted.items()
    ]
    limits = ["Not for clinical use."]
    if facts.miniatures:
        limits.append(f"Generated miniatures without medical content: {', '.join(facts.miniatures)}.")
    limits += [
        f"{each.kept:,} training rows of {each.source} share {each.tier} with {each.evaluation_dataset}."
        for each in facts.shared
        if each.kept
    ]
    return {
        "rai:dataCollection": "The rows were read from the files of published or local datasets. "
        "No data were collected for this mix.",
        "rai:dataCollectionType": ["Secondary Data analysis"],
        "rai:dataCollectionRawData": " ".join(f"{source}." for source in sources),
        "rai:dataCollectionMissingData": "; ".join(f"{reason}: {number:,}" for reason, number in facts.excluded)
        or "No record was excluded.",
        "rai:dataPreprocessingProtocol": [f"{step}: {numbered(number, 'record')}" for step, number in facts.steps],
        "rai:dataAnnotationProtocol": "Questions, answers, reports and labels are those of the publishers; see their "
        "citations.",
        "rai:dataBiases": [
            f"{number:,} of {facts.count():,} rows are of {facts.sources[source].card.title} "
            f"({facts.sources[source].card.modality})"
            for source, number in facts.tally("source").items()
        ],
        "rai:dataLimitations": limits,
        "rai:dataUseCases": [f"{role}: {numbered(number, 'row')}" for role, number in facts.roles.items()],
        "rai:personalSensitiveInformation": sensitive,
    }


def _list_files(target: Path, facts: MixFacts, form: Format) -> Iterator[dict[str, Any]]:
    patterns = [form.data_files.format(role=role) for role in facts.roles]
    for path in sorted(path for pattern in patterns for path in target.glob(pattern)):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        name = path.relative_to(target).as_posix()
        own = {"contentUrl": name, "contentSize": f"{path.stat().st_size} B", "encodingFormat": form.media_type}
        yield {**_node("FileObject", name), "name": path.name, **own, "sha256": digest}
    yield {**_node("FileSet", _FILES), "encodingFormat": form.media_type, "includes": patterns}
    if (target / "images").is_dir():
        kinds, paths = ["image/jpeg", "image/png"], ["images/*/*/*.jpg", "images/*/*/*.png"]
        yield {**_node("FileSet", _IMAGES), "encodingFormat": kinds, "includes": paths}


def _describe_splits(facts: MixFacts) -> dict[str, Any]:
    return {
        **_node("RecordSet", "splits"),
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [_field("splits", "name", "sc:Text"), _field("splits", "url", "sc:URL")],
        "data": [{"splits/name": role, "splits/url": _SPLITS[Role(role)]} for role in facts.roles],
    }


def _describe_rows() -> dict[str, Any]:
    """The columns of the Parquet files (`export_formats.SCHEMA`)."""
    texts = ("id", "source", "split", "task", "modality", "licence")
    turn = [
        _field("rows/turns", name, "sc:Text", column="turns", path=name) for name in ("question", "answer", "context")
    ]
    of_file_name = {"extract": {"fileProperty": "filename"}, "transform": {"regex": "^([a-z]+)"}}
    role = {
        **_field("rows", "role", "sc:Text"),
        "source": {"fileSet": {"@id": _FILES}, **of_file_name},
        "references": {"field": {"@id": "splits/name"}},
    }
    return {
        **_node("RecordSet", "rows"),
        "key": {"@id": "rows/id"},
        "field": [
            *(_field("rows", name, "sc:Text", column=name) for name in texts),
            role,
            {**_field("rows", "turns"), **_ARRAY, "subField": turn},
            {**_field("rows", "labels", "sc:Text", column="labels"), **_ARRAY},
            # `repeated`, of Croissant 1.0, because mlcroissant 1.1 decodes no array of images otherwise.
            {**_field("rows", "images", "sc:ImageObject", column="images", path="bytes"), **_ARRAY, "repeated": True},
            _field("rows", "weight", "sc:Float", column="weight"),
        ],
    }


def _node(kind: str, name: str) -> dict[str, Any]:
    return {"@type": f"cr:{kind}", "@id": name, "name": name}


_ARRAY = {"isArray": True, "arrayShape": "-1"}


def _field(parent: str, name: str, kind: str = "", column: str = "", path: str = "") -> dict[str, Any]:
    """A field; `path` is of the records in the column."""
    described = {**_node("Field", f"{parent}/{name}"), "name": name}
    if kind:
        described["dataType"] = kind
    if column:
        described["source"] = {"fileSet": {"@id": _FILES}, "extract": {"column": column}}
        if path:
            described["source"]["transform"] = {"jsonPath": path}
    return described
