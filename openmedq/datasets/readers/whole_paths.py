"""Images that a dataset names by their whole path, in the published archive or unpacked.

`storage.lookup` also finds images by file name alone. That would return the wrong image where several folders number
their images alike and one image is missing.
"""

from pathlib import Path, PurePosixPath

from openmedq.schema import Image
from openmedq.storage.archives import Members
from openmedq.storage.folders import spellings
from openmedq.storage.lookup import NOWHERE


class WholePaths:
    """Images in folders, searched in their order, then in an archive, below any of its folders."""

    def __init__(self, members: Members | None, start: str, folders: tuple[Path, ...]) -> None:
        """`members` is an open archive; all paths of images begin with `start`."""
        self._members = members
        self._inner: dict[str, str] = {}  # member by the image's path
        for member in members.names if members else ():
            if (at := f"/{member}".find(f"/{start}")) >= 0:
                self._inner.setdefault(member[at:], member)
        self._folders = tuple(dict.fromkeys(folders))
        places = [*([members.path.name] if members else []), *(f"folder {folder.name}" for folder in self._folders)]
        self.where = f"in {', '.join(places)}" if places else NOWHERE

    def find(self, name: str) -> Image | None:
        """Return the image at that path, or None; ArchiveError if it is damaged."""
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or "\0" in name:
            return None
        for spelled in spellings(str(path)):
            for folder in self._folders:
                try:
                    if (folder / spelled).is_file():
                        return Image(str(path), path=folder / spelled)
                except OSError:  # the name is too long for the file system
                    return None
            if self._members and spelled in self._inner:
                return Image(str(path), data=self._members.read(self._inner[spelled]))
        return None
