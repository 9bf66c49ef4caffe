from __future__ import annotations

from pathlib import Path

import pytest

from openmedq.cards.fields import Unusable
from openmedq.formats.captions import stream_captions, to_licence


def test_a_caption_goes_on_up_to_the_next_id(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"ROCO_1\t One\ntwo\tthree\n\nfour\nROCO_2\t Five\r\nROCO_3\nlost\nROCO_4\t\n")
    one, five, bare, lost, empty = stream_captions(tmp_path / "t.txt", "ROCO_")
    assert one == ("1", {"id": "ROCO_1", "caption": " One\ntwo\tthree\nfour"})
    assert five == ("5", {"id": "ROCO_2", "caption": " Five"})
    assert isinstance(bare[1], Unusable)
    assert isinstance(lost[1], Unusable)
    assert (bare[0], lost[0]) == ("6", "7")
    assert empty == ("8", {"id": "ROCO_4", "caption": ""})


@pytest.mark.parametrize(
    ("words", "licence"),
    [
        ("CC BY", "CC-BY"),
        ("CC BY-NC-SA", "CC-BY-NC-SA"),
        ("CC BY-NC-ND", "CC-BY-NC-ND"),
        ("CC BY-ND", "CC-BY-ND"),
        ("CC BY 4.0", "CC-BY-4.0"),
        ("CC BY [Doe et al. (2021)]", "CC-BY"),
        ("CC BY-NC [Doe et al. (2021)]", "CC-BY-NC"),
        ("CC0", "CC0-1.0"),
        ("CC BY-XX", "?"),
        ("CC BYE", "?"),
        ("", "?"),
        ("all rights reserved", "?"),
    ],
)
def test_licences_are_spelt_as_in_spdx(words: str, licence: str) -> None:
    assert to_licence(words, "?") == licence
