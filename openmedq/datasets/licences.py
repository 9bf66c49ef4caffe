"""Recognize licences, and decide what each licence allows.

A licence is identified by its SPDX id, without a version if none is stated, or by a `LicenseRef-` id for a publisher's
own terms; case, separators and the word "license" do not matter, and Creative Commons licences are also recognized by
their addresses. Any other text is an unknown licence, because a further word may restrict the rest. Policies:

- any: no condition.
- research: the licence is known. All known licences allow research.
- commercial: products of the data, such as weights, may be used commercially. NC forbids this, ND does not.
- redistributable: products of the data may be passed on, possibly under conditions. ND forbids this, because shards
  contain re-encoded images and edited texts, which are adaptations; NC does not.

Credentialed datasets allow research only, whatever their licence. This is not legal advice: whoever redistributes data
must still meet conditions such as attribution or share-alike.
"""

import re
from dataclasses import dataclass

from openmedq.config import Licences
from openmedq.datasets.card import Card

UNKNOWN = "licence unknown"
NO_CC = "no CC licence"  # PMC's "NO-CC CODE": the publisher's own terms, which are not stated


@dataclass(frozen=True)
class Licence:
    """A known licence. All known licences allow research."""

    id: str
    is_commercial: bool = True  # allows commercial use of products of the data
    is_redistributable: bool = True  # allows passing them on


# "The usage of the data set is unrestricted" (LicenseRef-NIH-ChestXray) comes with three requests: link the download
# site, name the NIH Clinical Center, cite the paper.
_IDS = (
    *("CC0-1.0", "MIT", "ISC", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "ODC-By-1.0", "PDDL-1.0"),
    *("PhysioNet-Credentialed-1.5.0", "LicenseRef-NIH-ChestXray", "LicenseRef-LLaMA-1", "LicenseRef-Public-Domain"),
)
_SPELLINGS = {  # by spelling in lower case, with "-" between words
    **{licence_id.removeprefix("LicenseRef-").lower(): licence_id for licence_id in _IDS},
    **dict.fromkeys(("cc0", "cc-zero-1.0"), "CC0-1.0"),
    **dict.fromkeys(("cc-mark-1.0", "cc-pdm-1.0"), "CC-PDM-1.0"),
    "odc-by": "ODC-By-1.0",
    "pddl": "PDDL-1.0",  # as the hub tags them
}
_RESEARCH_ONLY = {"PhysioNet-Credentialed-1.5.0", "LicenseRef-LLaMA-1"}

_URL = re.compile(
    r"https?://(?:www\.)?creativecommons\.org/(?:licenses|publicdomain)/([a-z-]+)/(\d\.\d)"
    r"(?:/(?:deed|legalcode)[.a-z-]*)?/?"
)
_CREATIVE_COMMONS = re.compile(r"cc-by(-nc)?(-sa|-nd)?(?:-(?:1\.0|2\.0|2\.5|3\.0|4\.0))?")
_SEPARATOR = re.compile(r"[\s_-]+(?:licen[cs]e(?:[\s_-]+|$))?")  # "Apache License 2.0", "MIT License"


def find(words: str) -> Licence | None:
    """Return the licence that a text names; None if it names none or contains further words."""
    text = words.casefold().strip()
    if url := _URL.fullmatch(text):
        text = f"cc-{url[1]}-{url[2]}"
    name = _SEPARATOR.sub("-", text).removeprefix("licenseref-").removesuffix("-")
    if found := _SPELLINGS.get(name):
        return Licence(found, found not in _RESEARCH_ONLY, found not in _RESEARCH_ONLY)
    if match := _CREATIVE_COMMONS.fullmatch(name):
        return Licence(name.upper(), is_commercial=not match[1], is_redistributable=match[2] != "-nd")
    return None


def spell(words: str) -> str:
    """Return the id of the licence that a text names, `NO_CC` for PMC's "NO-CC CODE", or ""."""
    licence = find(words)
    if licence:
        return licence.id
    return NO_CC if words.strip() in ("NO-CC CODE", NO_CC) else ""


def refuse(words: str | None, policy: Licences, *, is_credentialed: bool = False) -> str | None:
    """Return why the policy excludes data with this licence, as an exclusion reason; None if it allows them."""
    if policy == "any":
        return None
    licence = find(words or "")
    if licence is None:
        return UNKNOWN
    if policy == "research":
        return None
    is_allowed = licence.is_commercial if policy == "commercial" else licence.is_redistributable
    if is_allowed and is_credentialed:
        return f"credentialed: not {policy}"
    return None if is_allowed else f"licence {licence.id}: not {policy}"


def refuse_card(card: Card, policy: Licences) -> str | None:
    """Return why the policy excludes all rows of a dataset; None if it allows some or the rows' own licences decide."""
    if card.has_row_licences and not card.is_credentialed:
        return None
    return refuse(card.licence, policy, is_credentialed=card.is_credentialed)
