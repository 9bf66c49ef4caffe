"""Images that a dataset names by their whole path, in the published archive or unpacked.

`storage.lookup` also finds images by file name alone. That would return the wrong image where several folders number
their images alike and one image is missing.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from openmedq.errors import ArchiveError
from openmedq.schema import Image
from openmedq.storage.archives import Members


class WholePaths:
    """Images in folders, searched in their order, then in an archive below each of `tops` ("" or "Folder/")."""

    def __init__(self, members: Members | None, tops: tuple[str, ...], folders: tuple[Path, ...]) -> None:
        """`members` is an open archive."""
        self._members = members
        self._tops = tops
        self._folders = folders
        places = [*([members.path.name] if members else []), *(f"folder {folder.name}" for folder in folders)]
        self.where = f"in {', '.join(places)}" if places else "(no folder or archive of images is there)"

    def find(self, name: str) -> Image | None:
        """Return the image at that path, or None; ArchiveError if it is damaged."""
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or "\0" in name:
            return None
        for folder in self._folders:
            try:
                if (folder / path).is_file():
                    return Image(str(path), path=folder / path)
            except OSError:  # the name is too long for the file system
                return None
        for member in (f"{top}{path}" for top in self._tops):
            if self._members and self._is_member(self._members, member):
                return Image(str(path), data=self._members.read(member))
        return None

    @staticmethod
    def _is_member(members: Members, name: str) -> bool:
        try:
            return members.find(name) == name
        except ArchiveError:  # several members have the same last part
            return False
