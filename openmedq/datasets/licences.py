"""Recognize licences by their usual spellings, and decide what each licence allows.

A licence is identified by its SPDX id, without a version if none is stated, or by a `LicenseRef-` id for a publisher's
own terms. Text with any unrecognized word is an unknown licence, because the word may restrict the rest. Policies:

- any: no condition.
- research: the licence is known. All known licences allow research.
- commercial: products of the data, such as weights, may be used commercially. NC forbids this, ND does not.
- redistributable: products of the data may be passed on, possibly under conditions. ND forbids this, because shards
  contain re-encoded images and edited texts, which are adaptations; NC does not.

Credentialed datasets allow research only, whatever their licence. This is not legal advice: whoever redistributes data
must still meet conditions such as attribution or share-alike.
"""

import re
import unicodedata
from dataclasses import dataclass

from openmedq.config import Licences
from openmedq.datasets.card import Card

UNKNOWN = "licence unknown"
NO_CC = "no CC licence"  # PMC's "NO-CC CODE": the publisher's own terms, which are not stated
MAX_CHARS = 200  # longer texts are not the name of a licence


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
_SPELLINGS = {  # by spelling without noise words, joined by "-"
    **{licence_id.removeprefix("LicenseRef-").lower(): licence_id for licence_id in _IDS},
    **dict.fromkeys(("cc0", "cc-0", "cc-zero", "cc-zero-1.0", "cc0-1.0-universal"), "CC0-1.0"),
    **dict.fromkeys(("cc-mark-1.0", "cc-pdm-1.0"), "CC-PDM-1.0"),
    **dict.fromkeys(("apache2.0", "apache-2"), "Apache-2.0"),
    "physionet-credentialed-health-data-1.5.0": "PhysioNet-Credentialed-1.5.0",
}
_RESEARCH_ONLY = {"PhysioNet-Credentialed-1.5.0", "LicenseRef-LLaMA-1"}

_URL = re.compile(
    r"https?://(?:www\.)?creativecommons\.org/(?:licenses|publicdomain)/([a-z-]+)/(\d\.\d)(?:/([a-z]{2,3}))?"
    r"(?:/(?:deed|legalcode)(?:\.[a-z-]+)?)?/?"
)
_TOKEN = re.compile(r"[a-z]+\d?(?:\.\d)?|\d+(?:\.\d+)*")
_SEPARATOR = re.compile(r"[\s,_()/.:\u2010-\u2015-]*")
_NOISE = {"the", "a", "license", "licence", "licenseref", "version", "v", "international", "unported", "generic"}
_WORDS = {  # words in the long names of Creative Commons licences
    "creative": "cc",
    "commons": "cc",
    "attribution": "by",
    "noncommercial": "nc",
    "sharealike": "sa",
    "noderivatives": "nd",
    "noderivs": "nd",
}
_PAIR = re.compile(r"\b(non|share|no)[\s-]+(commercial|alike|derivatives|derivs)\b")  # "Share Alike"
_VERSIONS = {"1.0", "2.0", "2.5", "3.0", "4.0"}
_PORTS = {"us", "uk", "igo", "de", "fr", "nl", "au", "at"}


def find(words: str) -> Licence | None:
    """Return the licence that a text names in any usual spelling; None if it names none or contains further words."""
    tokens = _split(words)
    if not tokens:
        return None
    found = _SPELLINGS.get("-".join(tokens))
    if found:
        return Licence(found, found not in _RESEARCH_ONLY, found not in _RESEARCH_ONLY)
    return _find_creative_commons(tokens)


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


def _split(words: str) -> list[str]:
    """Split a text into case-folded words without noise words; empty if it contains other characters."""
    if len(words) > MAX_CHARS:
        return []
    text = unicodedata.normalize("NFKC", words).casefold().strip()
    if url := _URL.fullmatch(text):
        text = " ".join(filter(None, ("cc", *url.groups())))
    text = _PAIR.sub(r"\1\2", text)
    tokens, end = [], 0
    for match in _TOKEN.finditer(text):
        if not _SEPARATOR.fullmatch(text, end, match.start()):
            return []
        tokens.append(match[0])
        end = match.end()
    if not _SEPARATOR.fullmatch(text, end):
        return []
    return [
        token.removeprefix("v") if re.fullmatch(r"v\d(?:\.\d)?", token) else token
        for token in tokens
        if token not in _NOISE
    ]


def _find_creative_commons(tokens: list[str]) -> Licence | None:
    """Parse a licence that is named once or more, "Attribution 4.0 (CC BY 4.0)"; all restrictions apply."""
    terms: set[str] = set()
    versions: set[str] = set()
    ports: set[str] = set()
    for token in tokens:
        if (term := _WORDS.get(token, token)) in ("cc", "by", "nc", "sa", "nd"):
            terms.add(term)
        elif token in _VERSIONS or f"{token}.0" in _VERSIONS:
            versions.add(token if "." in token else f"{token}.0")
        elif token in _PORTS and versions:
            ports.add(token)
        else:
            return None
    is_whole = {"cc", "by"} <= terms and not {"sa", "nd"} <= terms and len(versions) < 2 and len(ports) < 2
    if not is_whole:
        return None
    parts = [
        "CC-BY",
        *(part.upper() for part in ("nc", "sa", "nd") if part in terms),
        *versions,
        *map(str.upper, ports),
    ]
    return Licence("-".join(parts), is_commercial="nc" not in terms, is_redistributable="nd" not in terms)
