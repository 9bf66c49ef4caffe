from pathlib import Path

import pytest

from openmedq.datasets.fields import Unusable
from openmedq.datasets.roco.captions import stream_captions


def test_a_caption_goes_on_up_to_the_next_id(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"ROCO_1\t One\ntwo\tthree\n\nfour\nROCO_2\t Five\r\nROCO_3\nlost\nROCO_4\t\n")
    one, five, bare, lost, empty = stream_captions(tmp_path / "t.txt", "ROCO_")
    assert one == ("1", {"id": "ROCO_1", "caption": " One\ntwo\tthree\nfour"})
    assert five == ("5", {"id": "ROCO_2", "caption": " Five"})
    assert isinstance(bare[1], Unusable)
    assert isinstance(lost[1], Unusable)
    assert (bare[0], lost[0]) == ("6", "7")
    assert empty == ("8", {"id": "ROCO_4", "caption": ""})


@pytest.mark.parametrize("damaged", [b"RO\0CO_2", b"\xffROCO_2", b"roco_2", b" ROCO_2 ", b'R"OCO_2'])
def test_a_record_with_a_damaged_id_is_not_taken_for_more_of_the_caption_above(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "t.txt").write_bytes(b"ROCO_1\t One\n" + damaged + b"\t Two\nROCO_3\t Three\n")
    captions = [
        record["caption"] for _, record in stream_captions(tmp_path / "t.txt", "ROCO_") if isinstance(record, dict)
    ]
    assert captions == [" One", " Two", " Three"]
