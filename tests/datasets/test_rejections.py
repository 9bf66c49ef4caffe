"""One record of each dataset with other values: it is rejected with its reason, alone, and its text is not quoted."""

from typing import Any

import pytest

from openmedq.schema import Reason, Rejected
from tests.datasets.records import ChangedOf

FIELD, QUESTION, ANSWER = Reason.FIELD_MISSING, Reason.QUESTION_EMPTY, Reason.ANSWER_EMPTY
OPTION, IMAGE, UTF8 = Reason.ANSWER_NOT_AN_OPTION, Reason.IMAGE_MISSING, Reason.NOT_UTF8
SECRET = "Quoted"
ZEROS, NOT_A_NUMBER = ",".join("0" * 19), float("nan")


def lacking(*names: str) -> list[tuple[Any, Reason]]:
    """Each of the fields is absent, or null."""
    return [({name: value}, FIELD) for name in names for value in (..., None)]


# By dataset: changes of its first record (a dict of fields, `...` removes one, or a whole line), and the reason.
REJECTED: dict[str, list[tuple[Any, Reason]]] = {
    "cxr8": [
        ({"Finding Labels": SECRET}, OPTION),
        ({"Finding Labels": "Mass|"}, OPTION),
        ({"Finding Labels": "Mass|No Finding"}, OPTION),
        ({"Finding Labels": " "}, ANSWER),
        ({"Image Index": "99999999_000.png"}, IMAGE),
        ({"Image Index": "../x.png"}, FIELD),
        ({"Image Index": " "}, FIELD),
        ({"View Position": "\udcff"}, UTF8),
    ],
    "medfmc_chest": [("no picture", FIELD), (f"x.png {ZEROS},0", FIELD), (f"x.png {ZEROS}", IMAGE)],
    "medfmc_colon": [("x.png", FIELD), ("x.png 2", OPTION), ("x.png yes", OPTION), ("../../x.png 1", IMAGE)],
    "medfmc_endo": [("x.png", FIELD), ("x.png 0 0 1", FIELD), ("x.png 0 0 2 0", OPTION), ("x.png 0 0 1 0", IMAGE)],
    "medmcqa": [
        *(({name: None}, FIELD) for name in ("id", "question", "cop")),
        ({"question": " "}, QUESTION),
        ({"opa": "", "cop": 0}, ANSWER),
        ({"cop": -2}, OPTION),
        ({"cop": -1}, Reason.ANSWER_WITHHELD),
    ],
    "medqa": [
        *lacking("question", "answer", "options", "answer_idx"),
        ({"question": " "}, QUESTION),
        ({"answer": ""}, ANSWER),
        ({"options": ["Lupus", SECRET]}, FIELD),
        ({"options": {"A": "Lupus", "B": None}}, FIELD),
        ({"answer_idx": "E"}, OPTION),
        ({"answer": SECRET}, OPTION),
    ],
    "mimic_cxr": [
        *(({name: value}, FIELD) for name in ("split", "study_id", "subject_id") for value in ("", SECRET)),
        ({"dicom_id": "../../secret"}, FIELD),
        ({"study_id": "../../../50000000"}, FIELD),
        ({"dicom_id": "\udcff"}, UTF8),
        ({"dicom_id": "0badcafe"}, IMAGE),
        ({"study_id": "50000001"}, IMAGE),
    ],
    "omnimedvqa": [
        *lacking("question_id", "question", "gt_answer", "image_path"),
        ({"gt_answer": ["head"]}, FIELD),
        ({"option_A": ..., "option_B": None, "option_C": " ", "option_D": NOT_A_NUMBER}, FIELD),
        ({"question": "  "}, QUESTION),
        ({"gt_answer": ""}, ANSWER),
        ({"gt_answer": SECRET}, OPTION),
        ({"gt_answer": "B"}, OPTION),
        ({"image_path": "Images/ACRIMA/absent.png"}, IMAGE),
        ({"image_path": "../../etc/passwd"}, IMAGE),
    ],
    "pathvqa": [
        ({"image": None}, FIELD),
        ({"image": {"bytes": None, "path": "train_0001.jpg"}}, IMAGE),
        ({"question": " "}, QUESTION),
        ({"answer": ""}, ANSWER),
    ],
    "pmc_oa": [
        ({"image": ...}, FIELD),
        ({"image": "absent.jpg"}, IMAGE),
        ({"image": ".."}, IMAGE),
        ({"caption": " "}, ANSWER),
    ],
    "pmc_vqa": [
        ({"Figure_path": ""}, FIELD),
        ({"Figure_path": "absent.jpg"}, IMAGE),
        ({"Question": " "}, QUESTION),
        ({"Answer": "", "Answer_label": " "}, ANSWER),
        ({"Choice B": " B: ", "Answer_label": "B"}, ANSWER),
        ({"Answer": SECRET, "Answer_label": "E"}, OPTION),
        ({"Choice A": "A:caf\udce9"}, UTF8),
    ],
    "pubmedqa": [
        *lacking("QUESTION", "CONTEXTS"),
        ({"final_decision": ...}, FIELD),
        ({"CONTEXTS": ["one", None]}, FIELD),
        ({"QUESTION": " "}, QUESTION),
        ({"final_decision": ""}, ANSWER),
        ({"final_decision": "perhaps"}, OPTION),
    ],
    "roco": [
        ("ROCO_00020\t ", ANSWER),
        ("ROCO_00020", FIELD),
        (f"\t {SECRET}", FIELD),
        (f"ROCO_../00020\t {SECRET}", FIELD),
        (f"ROCO_99999\t {SECRET}", IMAGE),
        (f"ROCO_\udce9\t {SECRET}", UTF8),
    ],
    "slake": [
        *lacking("qid", "img_name", "question", "answer", "q_lang"),
        ({"q_lang": "zh", "answer": ...}, FIELD),
        ({"q_lang": "zh", "answer": ""}, Reason.LANGUAGE_EXCLUDED),
        ({"question": "  "}, QUESTION),
        ({"answer": ""}, ANSWER),
        *(({"img_name": name}, IMAGE) for name in ("xmlab0/source.jpg", "source.jpg", "imgs", "../imgs.zip")),
        ({"question": "\ud800"}, UTF8),
    ],
    "ubench": [
        ({"image_id": " "}, FIELD),
        ({"image": None}, IMAGE),
        ({"image": {"bytes": b"", "path": "elsewhere.png"}}, IMAGE),
    ],
    "vqa_med_2019": [
        (f"synpic1|{SECRET}", FIELD),
        (f"|what?|{SECRET}", FIELD),
        (f"synpic1||{SECRET}", QUESTION),
        ("synpic1|what?| ", ANSWER),
        (f"synpic0|what?|{SECRET}", IMAGE),
        (f"../../etc/passwd|what?|{SECRET}", IMAGE),
        (f"\udcff|what?|{SECRET}", UTF8),
    ],
    "vqa_rad": [
        *(({name: ...}, FIELD) for name in ("qid", "phrase_type", "question", "answer", "image_name")),
        ({"answer": NOT_A_NUMBER}, FIELD),
        ({"phrase_type": "framed"}, FIELD),
        ({"question": "  "}, QUESTION),
        ({"answer": ""}, ANSWER),
        ({"image_name": "absent.jpg"}, IMAGE),
        ({"image_name": "../../etc/passwd"}, IMAGE),
    ],
}


@pytest.mark.parametrize("dataset_id", REJECTED)
def test_an_unusable_record_is_rejected_with_its_reason(dataset_id: str, changed: ChangedOf) -> None:
    record = changed(dataset_id)
    for changes, reason in REJECTED[dataset_id]:
        row = record.read(changes)
        assert isinstance(row, Rejected) and row.reason is reason, (changes, row)
        assert "\n" not in row.detail and SECRET not in row.detail
        row.detail.encode()
