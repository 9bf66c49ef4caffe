"""Pictures that a set names by their whole path, in the published archive or unpacked.

Never by the file name alone, as `io/archives` finds them too: where folders number their pictures alike, a picture
that is not there must not be taken for another one.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from openmedq.errors import ArchiveError
from openmedq.schema import Image
from openmedq.storage.archives import Members


class WholePaths:
    """Looks in the folders, in their order, then in the archive, below each of `tops` ("" or "Folder/")."""

    def __init__(self, members: Members | None, tops: tuple[str, ...], folders: tuple[Path, ...]) -> None:
        """Where to look; `members` of an open archive."""
        self._members = members
        self._tops = tops
        self._folders = folders
        places = [*([members.path.name] if members else []), *(f"folder {folder.name}" for folder in folders)]
        self.where = f"in {', '.join(places)}" if places else "(no folder or archive of images is there)"

    def find(self, name: str) -> Image | None:
        """The picture at that path, called by it; None where it is absent, ArchiveError where it is damaged."""
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or "\0" in name:
            return None
        for folder in self._folders:
            try:
                if (folder / path).is_file():
                    return Image(str(path), path=folder / path)
            except OSError:  # a name longer than file systems take
                return None
        for member in (f"{top}{path}" for top in self._tops):
            if self._members and self._is_member(self._members, member):
                return Image(str(path), data=self._members.read(member))
        return None

    @staticmethod
    def _is_member(members: Members, name: str) -> bool:
        try:
            return members.find(name) == name
        except ArchiveError:  # several others have the same last part
            return False
