"""The images that a table names: paths below a folder, file names that are unique in it, or bytes."""

import io
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from openmedq.datasets.fields import NO_VALUES, Unusable, to_line
from openmedq.datasets.readers.hub_shards import take_image
from openmedq.errors import SourceError
from openmedq.schema import Image, Reason
from openmedq.storage import dicom
from openmedq.storage.folders import spellings, walk


class LocalImages:
    """Images below a folder; no path leaves it. Their ids are paths in it, or pseudonyms of them."""

    def __init__(self, folder: Path, pseudonym: Callable[[str], str] | None) -> None:
        """`pseudonym` is applied to the ids, if it is given. SourceError if the folder is missing."""
        if not folder.is_dir():
            raise SourceError(f"{folder}: no such folder; set folder and images of the dataset in params.yaml")
        self._folder = Path(os.path.abspath(folder))  # noqa: PTH100  links are not resolved
        self._pseudonym = pseudonym or str

    def take(self, value: Any) -> list[Image]:
        """The images that a field names: a path, a list of paths, the bytes, a struct of bytes and path, or none."""
        if value in (None, "", *NO_VALUES) or value != value:  # NaN
            return []
        return [self._take_one(each) for each in (value if isinstance(value, list) else [value])]

    def place_of(self, image: Image) -> str:
        """The path of the image in the folder, or its id if it is not a file."""
        return image.path.relative_to(self._folder).as_posix() if image.path else image.image_id

    def describe(self, images: list[Image]) -> tuple[dict[str, str], str, str]:
        """Attributes, patient and study in the header of the first DICOM image; empty if there is none."""
        for image in images:
            if image.path is not None and dicom.is_dicom_file(image.path):
                return dicom.read_tags(image.path)
            if image.data is not None and dicom.is_dicom(image.data):
                return dicom.read_tags(io.BytesIO(image.data))
        return {}, "", ""

    def _take_one(self, value: Any) -> Image:
        if isinstance(value, dict) and not value.get("bytes"):  # `datasets` writes files by their paths
            value = value.get("path")
        if isinstance(value, bytes | dict):
            return take_image({"image": value}, "image")[0]
        if not isinstance(value, str):
            raise Unusable(Reason.FIELD_MISSING, "the field of the image is neither a path nor bytes")
        path = self._find(value.strip())
        return Image(self._pseudonym(path), path=self._folder / path)

    def _find(self, name: str) -> str:
        """The path of the file below the folder."""
        if "\0" in name:
            raise Unusable(Reason.IMAGE_MISSING, "the name of the image contains a null byte")
        try:
            for spelled in spellings(name.replace("\\", "/")):
                inside = os.path.relpath(os.path.normpath(self._folder / spelled), self._folder)
                if (inside + "/").startswith("../"):
                    raise Unusable(Reason.IMAGE_MISSING, f"{to_line(name)} leaves the folder of the images")
                if (self._folder / inside).is_file():
                    return inside
        except (OSError, UnicodeEncodeError):  # too long for the file system, or not UTF-8
            raise Unusable(Reason.IMAGE_MISSING, f"no file {to_line(name)}: impossible name") from None
        found = next((self._by_name[each] for each in spellings(name) if each in self._by_name), "")
        if found is None:
            raise Unusable(Reason.IMAGE_MISSING, f"several files are named {to_line(name)}; give the path")
        if not found:
            raise Unusable(Reason.IMAGE_MISSING, f"no file {to_line(name)} in folder {self._folder.name}")
        return found

    @cached_property
    def _by_name(self) -> dict[str, str | None]:
        """Paths of the files by name; None where several have the name."""
        paths: dict[str, str | None] = {}
        for folder, _, files in walk(self._folder):
            for file in files:
                paths[file] = None if file in paths else (folder / file).relative_to(self._folder).as_posix()
        return paths
