import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmedq.datasets.mimic_cxr.report_sections import ANSWERS, read_sections

WHOLE = """\
                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)
\x20
 INDICATION:  ___ year old woman
 with cough.
\x20
 TECHNIQUE:  Two views.
\x20
 COMPARISON:  ___ at 10:30.
\x20
 FINDINGS:
\x20
 The lungs   are clear.
 HEART: normal.
\x20
 No effusion.
\x20
 IMPRESSION:  1.  No acute process.
\x20
 RECOMMENDATION(S):  None.
"""


def test_a_report_is_its_sections() -> None:
    assert read_sections(WHOLE) == {
        "findings": "The lungs are clear. HEART: normal. No effusion.",
        "impression": "1. No acute process.",
        "examination": "CHEST (PA AND LAT)",
        "indication": "___ year old woman with cough.",
        "technique": "Two views.",
        "comparison": "___ at 10:30.",
        "recommendations": "None.",
    }
    assert read_sections(WHOLE.replace("\n", "\r\n")) == read_sections(WHOLE)


@pytest.mark.parametrize(
    ("header", "section"),
    [
        *((name, "findings") for name in ("FINDINGS", "FINDING", "Findings", "FINDGINGS", "CHEST, TWO VIEWS")),
        *((name, "findings") for name in ("PORTABLE AP CHEST", "PA AND LATERAL VIEWS OF THE CHEST")),
        *((name, "impression") for name in ("IMPRESSION", "IMPRESSION ", "IMPRESSON", "MPRESSION", "CONCLUSION")),
        *((name, "impression") for name in ("FINDINGS AND IMPRESSION", "FINDINGS/IMPRESSION")),
        *((name, "indication") for name in ("INDICATION", "HISTORY", "REASON FOR EXAM", "REASON FOR EXAMINATION")),
        *((name, "indication") for name in ("CLINICAL INFORMATION", "PATIENT HISTORY", "IDICATION")),
        *((name, "comparison") for name in ("COMPARISONS", "COMPARISON FILM", "REFERENCE EXAM", "COMPARRISON")),
        *((name, "examination") for name in ("EXAM", "TYPE OF EXAMINATION")),
        ("WET READ", "wet_read"),
    ],
)
def test_headers_are_called_in_many_ways(header: str, section: str) -> None:
    assert read_sections(f" FINAL REPORT\n {header}:  It says this.\n")[section] == "It says this."


WET_READ = (
    " WET READ: ___ ___ 10:05 PM\n  No pneumonia.\n ______________________\n"
    "                    FINAL REPORT\n PORTABLE CHEST\n \n HISTORY: Cough.\n \n IMPRESSION: Clear.\n"
)
ADDENDUM = "   FINAL ADDENDUM\n The name was wrong.\n ____________________\n   FINAL REPORT\n IMPRESSION: Clear.\n"
BOTH = {"impression": "Clear.", "indication": "Cough."}


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        (" CHEST, PA AND LATERAL:\n \n HISTORY: Cough.\n \n IMPRESSION: Clear.\n", BOTH),  # a title
        (" FINDINGS: One.\n PORTABLE CHEST: Two.\n", {"findings": "One. PORTABLE CHEST: Two."}),
        (
            " HISTORY:\n \n Cough.\n \n The lungs are clear.\n \n IMPRESSION: Clear.\n",
            BOTH | {"unlabelled": "The lungs are clear."},
        ),
        (WET_READ, BOTH | {"wet_read": "___ ___ 10:05 PM No pneumonia."}),
        (ADDENDUM, {"impression": "Clear.", "addendum": "The name was wrong."}),
    ],
)
def test_a_section_ends_where_another_begins(text: str, sections: dict[str, str]) -> None:
    assert read_sections(text) == sections


def test_of_several_the_last_that_says_something_counts() -> None:
    text = " IMPRESSION: First.\n \n FINDINGS: One.\n \n IMPRESSION: Second.\n \n FINDINGS:\n ___\n"
    assert read_sections(text) == {"findings": "One.", "impression": "Second."}
    assert list(read_sections(text)) == list(ANSWERS)


@pytest.mark.parametrize(
    ("text", "report"),
    [
        (" FINAL REPORT\n COMPARISON: None.\n \n The lungs are clear.\n \n No effusion.\n", "No effusion."),
        (" FINAL REPORT\n COMPARISON:\n \n The lungs are clear. No effusion.\n", "No effusion."),
        (" COMPARISON: None.\n \n No effusion.\n \n NOTIFICATION: Dr. ___.\n", "No effusion."),
        (" FINAL REPORT\n CHEST RADIOGRAPH OF ___\n \n The lungs are clear.\n \n No effusion.\n", "No effusion."),
        ("                FINAL REPORT\n No effusion.\n", "No effusion."),
        ("NO EFFUSION.", "NO EFFUSION."),
    ],
)
def test_a_report_with_neither_is_its_last_paragraph(text: str, report: str) -> None:
    sections = read_sections(text)
    assert sections["report"].endswith(report)
    assert not {*ANSWERS} & {*sections}
    assert report not in sections.get("comparison", "") + sections.get("indication", "")


@pytest.mark.parametrize(
    "text", ["", " \n", "___", " FINAL REPORT\n", " INDICATION: Cough.\n", " COMPARISON: ___\n", " FINDINGS: ___\n"]
)
def test_a_report_may_tell_nothing(text: str) -> None:
    assert not {*ANSWERS, "report"} & {*read_sections(text)}


@given(st.text(alphabet=" \n_.:ABCFINDGSMPREOabc", max_size=80) | st.text())
def test_any_text_is_sections_in_one_line(text: str) -> None:
    for section in read_sections(text).values():
        assert section
        assert section == " ".join(section.split())
