"""DICOM images as their headers say that they are shown, and nothing of the other tags anywhere."""

import io
import logging
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from openmedq.config import Normalize
from openmedq.schema import BrokenImage, Reason
from openmedq.storage import dicom
from openmedq.storage.images import encode

pydicom = pytest.importorskip("pydicom")

SETTINGS = Normalize()
LEVELS = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)  # 0 to 4095: 12 bits
SECRET = "Doe^Jane"


def test_without_pydicom_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    data = b"\0" * 128 + b"DICM" + b"\0" * 100
    with pytest.raises(BrokenImage, match=r"a DICOM file, which needs pydicom; pip install 'openmedq\[dicom\]'"):
        encode(data, SETTINGS)
    (tmp_path / "a.dcm").write_bytes(data)
    assert dicom.is_dicom_file(tmp_path / "a.dcm")
    assert dicom.read_tags(tmp_path / "a.dcm") == ({}, "", "")


def test_a_jpeg_2000_image_is_read_without_the_extra() -> None:
    buffer = io.BytesIO()
    gray = PIL.Image.fromarray((LEVELS // 16).astype(np.uint8))
    gray.save(buffer, "JPEG2000", irreversible=False)
    assert np.array_equal(_pixels(buffer.getvalue()), np.asarray(gray))


def _pixels(data: bytes, **settings: Any) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(encode(data, Normalize(**settings)).data)))


def make_dicom(levels: np.ndarray | None = LEVELS, **tags: Any) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _make_dicom(levels, **tags)


def _make_dicom(levels: np.ndarray | None, **tags: Any) -> bytes:
    """A file with explicit little-endian pixels of 12 bits, or of 8 if the array has 8."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    dataset.PatientID, dataset.PatientName, dataset.StudyInstanceUID = SECRET, SECRET, "1.2.3.4"
    if levels is not None:
        is_color = levels.ndim >= 3 and levels.shape[-1] == 3
        num_bits = 8 * levels.dtype.itemsize
        dataset.Rows, dataset.Columns = levels.shape[-3:-1] if is_color else levels.shape[-2:]
        dataset.SamplesPerPixel, dataset.PixelRepresentation = (3 if is_color else 1), int(levels.dtype.kind == "i")
        if is_color:
            dataset.PlanarConfiguration = 0
        dataset.PhotometricInterpretation = "RGB" if is_color else "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored = num_bits, 12 if levels.dtype == np.uint16 else num_bits
        dataset.HighBit = dataset.BitsStored - 1
        if levels.ndim == 3 and not is_color:
            dataset.NumberOfFrames = len(levels)
        dataset.PixelData = levels.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _shares(low: float, high: float) -> np.ndarray:
    share = np.clip((LEVELS.astype(float) - low) / (high - low), 0, 1)
    return np.asarray((share * 255).round(), np.uint8)


@pytest.mark.parametrize("first", [b"\2\0\0\0", b"\x08\0\x16\0"])  # of the file meta information, of the dataset
def test_a_file_may_begin_without_its_preamble_or_syntax(first: bytes, tmp_path: Path) -> None:
    data = make_dicom()[make_dicom().index(first, 132) :]
    assert np.array_equal(_pixels(data), _pixels(make_dicom()))
    (tmp_path / "a.dcm").write_bytes(data)
    assert dicom.is_dicom_file(tmp_path / "a.dcm")
    assert dicom.read_tags(tmp_path / "a.dcm")[1:] == (SECRET, "1.2.3.4")


def test_without_a_window_the_range_of_levels_is_shown() -> None:
    invalid = {"WindowCenter": 2000, "WindowWidth": 0}  # would make each pixel black or white
    for tags in ({}, invalid, invalid | {"VOILUTFunction": "SIGMOID"}):
        assert np.array_equal(_pixels(make_dicom(**tags)), _shares(0, 4095))


def test_the_window_is_applied_after_the_rescale() -> None:
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1024, "WindowCenter": 40.5, "WindowWidth": 401}
    low, high = ((edge + 1024) / 2 for edge in (40 - 200, 40 + 200))
    assert np.abs(_pixels(make_dicom(**tags)).astype(int) - _shares(low, high)).max() <= 1
    several = tags | {"WindowCenter": [40.5, 500], "WindowWidth": [401, 2000]}
    assert np.array_equal(_pixels(make_dicom(**several)), _pixels(make_dicom(**tags)))


def test_the_windows_are_those_of_pydicom() -> None:
    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        data = make_dicom(WindowCenter=2000, WindowWidth=20, VOILUTFunction=function)
        dataset = pydicom.dcmread(io.BytesIO(data))
        expected = pydicom.pixels.apply_windowing(dataset.pixel_array, dataset) / 4095 * 255
        assert np.abs(_pixels(data) - expected).max() <= 1, function


def test_monochrome1_is_inverted() -> None:
    assert np.array_equal(_pixels(make_dicom(PhotometricInterpretation="MONOCHROME1")), 255 - _shares(0, 4095))


@pytest.mark.parametrize("kind", [np.uint16, np.uint8])
def test_a_lookup_table_may_have_entries_of_8_bits(kind: type) -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor = [4096, 0, 8]
    table.LUTData = (np.arange(4096) // 16).astype(kind).tobytes()
    assert np.array_equal(_pixels(make_dicom(VOILUTSequence=[table])), LEVELS // 16)


def test_signed_padding_that_is_stored_as_unsigned_is_left_out_of_the_range() -> None:
    levels = LEVELS.astype(np.int16)
    levels[:8] = -2000
    dataset = pydicom.dcmread(io.BytesIO(make_dicom(levels)))
    dataset.add_new("PixelPaddingValue", "US", 2**16 - 2000)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    shown = _pixels(buffer.getvalue())
    assert shown[8, 0] == 0 and shown[-1, -1] == 255


def test_a_range_of_padding_is_left_out_of_the_range() -> None:
    levels = LEVELS // 2
    levels[:1] = np.arange(4000, 4064)
    shown = _pixels(make_dicom(levels, PixelPaddingValue=4063, PixelPaddingRangeLimit=4000))
    assert shown[1, 0] == 0 and shown[-1, -1] == 255


@pytest.mark.parametrize(("name", "kind"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")])
def test_pixels_may_be_floats(name: str, kind: str) -> None:
    dataset = pydicom.dcmread(io.BytesIO(make_dicom()))
    del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
    dataset.BitsAllocated = 8 * np.dtype(kind).itemsize
    setattr(dataset, name, (LEVELS / 4096).astype(kind).tobytes())
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    assert np.array_equal(_pixels(buffer.getvalue()), _shares(0, 4095))


def test_the_window_of_a_frame_is_in_its_functional_group() -> None:
    shared, group, other, rescale, window = (pydicom.Dataset() for _ in range(5))
    rescale.RescaleSlope, rescale.RescaleIntercept = 2, -1024
    window.WindowCenter, window.WindowWidth = 40.5, 401
    shared.PixelValueTransformationSequence, group.FrameVOILUTSequence = [rescale], [window]
    tags = {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": [other, group]}
    shown = _pixels(make_dicom(np.stack([LEVELS, LEVELS]), **tags), dicom_frame="middle")
    assert np.array_equal(
        shown, _pixels(make_dicom(RescaleSlope=2, RescaleIntercept=-1024, WindowCenter=40.5, WindowWidth=401))
    )


def test_color_stays_color() -> None:
    color = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert np.array_equal(_pixels(make_dicom(color)), color)
    assert np.array_equal(_pixels(make_dicom(color.astype(np.uint16), BitsStored=16, HighBit=15)), color)


def test_a_frame_of_several_is_selected_by_the_setting() -> None:
    frames = np.stack([np.full((32, 32), level, np.uint16) for level in range(5)])
    frames[:, 0, 0] = 4095
    data = make_dicom(frames, WindowCenter=2.5, WindowWidth=5)
    with pytest.raises(BrokenImage, match=r"a DICOM file with 5 frames; set normalize\.dicom_frame to first or middle"):
        encode(data, SETTINGS)
    first, middle = (_pixels(data, dicom_frame=each)[5, 5] for each in ("first", "middle"))
    assert first == 0 < middle


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (lambda: make_dicom(None), Reason.IMAGE_UNREADABLE, "a DICOM file without pixels"),
        (lambda: make_dicom()[:-500], Reason.IMAGE_UNREADABLE, "a damaged or unsupported DICOM file"),
        (lambda: make_dicom(Rows=0), Reason.IMAGE_UNREADABLE, "a damaged or unsupported DICOM file"),
        (lambda: make_dicom(Rows=60000, Columns=60000), Reason.IMAGE_TOO_LARGE, "more than 100000000 pixels"),
        (lambda: make_dicom(BitsStored=99), Reason.IMAGE_UNREADABLE, "a damaged or unsupported DICOM file"),
    ],
)
def test_what_cannot_be_shown_has_a_reason_and_quotes_no_tag(
    data: Any, reason: Reason, detail: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = data()
    with caplog.at_level(logging.DEBUG), pytest.raises(BrokenImage) as caught:
        encode(broken, SETTINGS)
    assert caught.value.reason is reason and caught.value.detail.startswith(detail)
    assert SECRET not in "".join([caught.value.detail, caplog.text, *capfd.readouterr()])


def test_allowed_tags_alone_are_read(tmp_path: Path) -> None:
    tags = {"Modality": "CT", "BodyPartExamined": "CHEST", "BurnedInAnnotation": "YES", "ViewPosition": f"of {SECRET}"}
    (tmp_path / "a.dcm").write_bytes(make_dicom(**tags, InstitutionName="St. Elsewhere"))
    attributes, patient, study = dicom.read_tags(tmp_path / "a.dcm")
    assert attributes == {"dicom_modality": "ct", "body_part": "chest", dicom.BURNED_IN: "yes"}
    assert (patient, study) == (SECRET, "1.2.3.4")
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"garbage")
    assert dicom.read_tags(tmp_path / "a.dcm") == ({}, "", "")


def test_a_voi_lookup_table_is_applied() -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor = [4096, 0, 12]
    table.LUTData = np.arange(4095, -1, -1, np.uint16).tobytes()
    shown = _pixels(make_dicom(VOILUTSequence=[table]))
    assert np.abs(shown - (255 - _shares(0, 4095).astype(int))).max() <= 1


def test_threads_do_not_let_each_other_log(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(make_dicom())
    other = threading.Thread(target=dicom.read_tags, args=(tmp_path / "a.dcm",))
    with dicom._quietly():
        other.start()
        other.join(0.5)
        assert other.is_alive() and logging.getLogger("pydicom").disabled
    other.join()
    assert not logging.getLogger("pydicom").disabled
