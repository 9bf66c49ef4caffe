"""Divide radiology reports, plain texts with headers in capitals, into sections.

The rules are those of MIT-LCP's `section_parser.py` for MIMIC-CXR
(https://github.com/MIT-LCP/mimic-cxr/tree/master/txt): headers are normalized to a few names (conclusion is impression,
a misspelled header gets the nearest name, a view such as `CHEST, PA AND LATERAL:` starts findings), the last of several
findings or impressions counts, and a report with neither is its last paragraph. There are three differences. A header
with none of these names (`LUNGS:`) is part of its section's text. A short section (indication, comparison, ...) is one
paragraph, and text after it without a header is `unlabelled`, so that findings do not become part of the indication.
The script's list of some fifty exceptional studies is omitted, because it names real studies.
"""

import difflib
import re

ANSWERS = ("findings", "impression")

_BANNERS = {"FINAL REPORT": "", "FINAL ADDENDUM": "addendum"}
_NAMES = {  # by section: words in its headers; the first section that matches is used
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
_SPELLED = (*ANSWERS, *_SHORT)  # names that misspelled headers are compared with

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
    """Return the sections of a report by name, each in one line, without empty ones.

    The report's content is in `findings` and `impression`, or else in `report`, the last paragraph without a header.
    Other sections: `indication`, `comparison`, `technique`, `examination`, `recommendations`, `addendum`, `wet_read`,
    `notification`, `unlabelled`.
    """
    parts = _divide(_RULE.sub("", text.replace("\r\n", "\n")))
    answers = {name: line for name, body in parts if name in ANSWERS and (line := _to_line(body))}
    others: dict[str, list[str]] = {}
    unlabelled = []
    for name, body in parts:
        if name in ANSWERS:
            continue
        head, rest = body, ""
        if name in (*_SHORT, ""):
            head, rest = _split_off(body, has_header=bool(name), has_answers=bool(answers))
        if line := _to_line(head):
            others.setdefault(name, []).append(line)
        if rest:
            unlabelled.append(rest)
    sections = {name: answers[name] for name in ANSWERS if name in answers}
    if not answers and unlabelled:
        sections["report"] = unlabelled.pop()
    if unlabelled:
        others["unlabelled"] = unlabelled
    return sections | {name: " ".join(lines) for name, lines in others.items()}


def _divide(text: str) -> list[tuple[str, str]]:
    """Return names and bodies in order; the name is "" before the first header and after the report's banner."""
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
    """Return the section that a header starts; None if it is part of the text, as views within an answer are."""
    words = " ".join(header.lower().split()).strip("()/,&- ")
    for name, held in _NAMES.items():
        if any(word in words for word in held):
            return name
    if words in _EXAMINATIONS:
        return "examination"
    if near := difflib.get_close_matches(words, _SPELLED, n=1, cutoff=0.85):
        return near[0]
    return "findings" if _VIEW.search(words) and not is_answer else None


def _split_off(body: str, *, has_header: bool, has_answers: bool) -> tuple[str, str]:
    """Split a short section into its own paragraph and the text after it, without titles.

    If the report has no findings or impression, a header with an empty line after it has no paragraph of its own.
    """
    paragraphs = _BLANK_LINE.split(body)
    if has_answers:
        paragraphs = [paragraph for paragraph in paragraphs if paragraph.strip()]
    head = paragraphs.pop(0) if has_header and paragraphs else ""
    return head, " ".join(line for line in map(_to_line, paragraphs) if line and not _is_title(line))


def _is_title(line: str) -> bool:
    return line.isupper() and len(line) <= _MAX_TITLE_CHARACTERS and not line.endswith(".")


def _to_line(text: str) -> str:
    """Return the text in one line; "" if it has no word, such as `___` in place of a name."""
    return " ".join(text.split()) if _WORD.search(text) else ""
