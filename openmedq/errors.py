"""Every error that is the user's to mend, told in one line: what, where, what to do.

    OpenMedQError
    ├── ParamsError          params.yaml or a profile says something that is not allowed
    ├── SourceError          a folder does not hold the layout that its source documents
    │   └── ArchiveError     an archive is cut, hostile, or not an archive
    ├── MirrorError          the mirror is not there, holds no source, or lacks a required one
    ├── AcquisitionError     published files that can't be had: refused, gone, or not what was promised
    │   ├── PassingError     not now: a server that does not answer; trying again later may help
    │   └── AccessError      a host lets nobody in without credentials, or not with these
    ├── ChecksumError        bytes differ from the pinned or recorded ones
    ├── StaleError           a derived file (catalogue, manifest) no longer agrees with its origin
    ├── TrackingError        the MLflow store does not answer or can't be opened
    ├── ValidationError      the data are red: training may not start
    ├── ModelError           weights or a tokenizer that can't be loaded or don't fit
    ├── DiskFullError        no space is left for an output
    └── ExportError          weights that may not leave, or not to where they should

`python -m openmedq` prints such an error as one line and exits with 1, or with TRY_AGAIN where it may pass; a stack
trace is for bugs.
"""

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: the trouble may pass by itself; the flows try such a stage again


class OpenMedQError(Exception):
    """Base of all errors above: `str()` of it is one complete line."""


class ParamsError(OpenMedQError):
    """params.yaml or a profile says something that is not allowed."""


class SourceError(OpenMedQError):
    """A folder does not hold the layout that its source documents."""


class ArchiveError(SourceError):
    """An archive is cut, hostile, or not an archive."""


class MirrorError(OpenMedQError):
    """The mirror is not there, holds no source, or lacks a required one."""


class AcquisitionError(OpenMedQError):
    """Published files that can't be had: refused, gone, or not what was promised."""


class PassingError(AcquisitionError):
    """Not now: a server that does not answer; trying again later may help."""


class AccessError(AcquisitionError):
    """A host lets nobody in without credentials, or not with these."""


class ChecksumError(OpenMedQError):
    """Bytes differ from the pinned or recorded ones."""


class StaleError(OpenMedQError):
    """A derived file no longer agrees with what it is derived from."""


class TrackingError(OpenMedQError):
    """The MLflow store does not answer or can't be opened."""


class ValidationError(OpenMedQError):
    """The data are red: training may not start."""


class ModelError(OpenMedQError):
    """Weights or a tokenizer that can't be loaded or don't fit."""


class DiskFullError(OpenMedQError):
    """No space is left for an output."""


class ExportError(OpenMedQError):
    """Weights that may not leave, or not to where they should."""
