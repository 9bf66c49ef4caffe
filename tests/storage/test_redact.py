import pytest

from openmedq.errors import ArchiveError, LocalFolderError, OpenMedQError, StaleError
from openmedq.storage.redact import redact_paths

SECRET = "files/p10/p10000032/s50414267/x.jpg"


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (PermissionError(13, "Permission denied", SECRET), "mimic_cxr: Permission denied;"),
        (StaleError(f"{SECRET}: gone"), "mimic_cxr: a file is missing"),
        (LocalFolderError(f"{SECRET}: a link to nowhere"), "mimic_cxr: a file is missing"),
    ],
)
def test_files_of_a_credentialed_set_are_not_named(error: Exception, what: str) -> None:
    with pytest.raises(OpenMedQError, match=f"^{what}") as caught, redact_paths("mimic_cxr", is_credentialed=True):
        raise error
    assert "p10" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    with pytest.raises(type(error), match=SECRET), redact_paths("vqa_rad", is_credentialed=False):
        raise error
    with pytest.raises(ArchiveError), redact_paths("mimic_cxr", is_credentialed=True):
        raise ArchiveError("images.zip: cut")
