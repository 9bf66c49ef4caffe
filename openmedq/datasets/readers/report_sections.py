"""Radiology reports as hospitals write them: plain text whose sections begin with a header in capitals.

Sections are told apart as MIT-LCP's `section_parser.py` for MIMIC-CXR tells them: a header's name is made one of a few
(conclusion is impression, a misspelt one is what it is nearest to, a view such as `CHEST, PA AND LATERAL:` heads
findings), of several findings or impressions the last one counts, and a report with neither is its last paragraph.
Otherwise here: a header that says none of these names (`LUNGS:`) is part of its section's text; a short section
(indication, comparison, ...) is one paragraph, and what follows it without a header is `unlabelled`, so that no
findings stand in the indication. That script's list of some fifty studies to be read otherwise names real studies,
and is not repeated.
"""

from __future__ import annotations

import difflib
import re

ANSWERS = ("findings", "impression")

_BANNERS = {"FINAL REPORT": "", "FINAL ADDENDUM": "addendum"}
_NAMES = {  # section: what its header may hold, the first that fits
    "impression": ("impression", "conclusion"),
    "findings": ("finding",),
    "indication": ("indication", "history", "reason for", "clinical"),
    "comparison": ("comparison", "reference exam"),
    "technique": ("technique",),
    "recommendations": ("recommendation",),
    "addendum": ("addendum",),
    "wet_read": ("wet read", "wetread", "pfi"),
    "notification": ("notification",),
}
_EXAMINATIONS = ("exam", "examination", "type of exam", "type of examination", "study")
_SHORT = ("indication", "comparison", "technique", "examination")
_SPELLED = (*ANSWERS, *_SHORT)  # what a misspelt header is held against

_HEADER = re.compile(
    r"^[ \t]*(?:(?P<banner>FINAL REPORT|FINAL ADDENDUM)[ \t]*$"
    r"|(?P<name>[A-Z][A-Z ()/,&-]{1,60}|(?i:findings?|impression|indication|comparison|technique|history)):)",
    re.MULTILINE,
)
_RULE = re.compile(r"^[ \t]*_{10,}[ \t]*$", re.MULTILINE)
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_VIEW = re.compile(r"\b(chest|portable|pa|ap|lateral|frontal|views?|ribs|bone window|radiographs?)\b")
_WORD = re.compile(r"[^\W_]")
_MAX_TITLE_CHARACTERS = 100


def read_sections(text: str) -> dict[str, str]:
    """The sections of a report by name, each in one line; those without a word are left out.

    `findings` and `impression` where they are there, else `report`, the last paragraph that has no header of its own;
    no one of these three where nothing is told. Further `indication`, `comparison`, `technique`, `examination`,
    `recommendations`, `addendum`, `wet_read`, `notification`, `unlabelled`.
    """
    parts = _divide(_RULE.sub("", text.replace("\r\n", "\n")))
    told = {name: line for name, body in parts if name in ANSWERS and (line := _to_line(body))}
    others: dict[str, list[str]] = {}
    unlabelled = []
    for name, body in parts:
        if name in ANSWERS:
            continue
        head, rest = body, ""
        if name in (*_SHORT, ""):
            head, rest = _split_off(body, has_header=bool(name), is_told=bool(told))
        if line := _to_line(head):
            others.setdefault(name, []).append(line)
        if rest:
            unlabelled.append(rest)
    sections = {name: told[name] for name in ANSWERS if name in told}
    if not told and unlabelled:
        sections["report"] = unlabelled.pop()
    if unlabelled:
        others["unlabelled"] = unlabelled
    return sections | {name: " ".join(lines) for name, lines in others.items()}


def _divide(text: str) -> list[tuple[str, str]]:
    """Names and bodies in order; the name is "" before the first header and after the banner of the report."""
    parts, name, start = [], "", 0
    for header in _HEADER.finditer(text):
        banner = header["banner"]
        following = _BANNERS[banner] if banner else _recognize(header["name"], is_answer=name in ANSWERS)
        if following is None:
            continue
        parts.append((name, text[start : header.start()]))
        name, start = following, header.end()
    return [*parts, (name, text[start:])]


def _recognize(header: str, *, is_answer: bool) -> str | None:
    """The section that a header begins; None where it is one of the text's own, as all views are within an answer."""
    words = " ".join(header.lower().split()).strip("()/,&- ")
    for name, held in _NAMES.items():
        if any(word in words for word in held):
            return name
    if words in _EXAMINATIONS:
        return "examination"
    if near := difflib.get_close_matches(words, _SPELLED, n=1, cutoff=0.85):
        return near[0]
    return "findings" if _VIEW.search(words) and not is_answer else None


def _split_off(body: str, *, has_header: bool, is_told: bool) -> tuple[str, str]:
    """A short section's own paragraph, and the text after it, titles left out.

    Where nothing else is told, a header with nothing in its line heads no more than that: the text is what follows.
    """
    paragraphs = _BLANK_LINE.split(body)
    if is_told:
        paragraphs = [paragraph for paragraph in paragraphs if paragraph.strip()]
    head = paragraphs.pop(0) if has_header and paragraphs else ""
    return head, " ".join(line for line in map(_to_line, paragraphs) if line and not _is_title(line))


def _is_title(line: str) -> bool:
    return line.isupper() and len(line) <= _MAX_TITLE_CHARACTERS and not line.endswith(".")


def _to_line(text: str) -> str:
    """The text in one line; "" where it holds no word, as `___` that stands for a name."""
    return " ".join(text.split()) if _WORD.search(text) else ""
