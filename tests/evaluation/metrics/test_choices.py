import pyarrow as pa
import pytest

from openmedq.evaluation.metrics.choices import read_answer
from openmedq.evaluation.metrics.predictions import prediction_schema, score_predictions
from openmedq.model.prompt import respond
from openmedq.schema import Task, Turn
from tests.model.tiny import SAMPLES, make_sample

ORGANS = ("lung", "heart", "A mass in the liver", "E. coli", "10 mm")


def _read(text: str, options: tuple[str, ...] = ORGANS) -> str:
    return read_answer(text, make_sample(Task.MULTIPLE_CHOICE, Turn("Which?", options[0], options=options)))


LETTERS = (
    'B|b|B.|b.|B)|(B)|(b)|[B]|B:|"B"|**B**| B \n|B - heart|B\nIt pumps.',
    "B. heart| B. heart |b. heart|B: heart|B) heart|B)heart|(B) heart|**B.** heart|B heart",
    "Answer: B|answer: (b)|The answer is B|The correct answer is: B.|Final answer: **B**|Option B",
    "The answer is option B|Answer: B. heart|The answer is heart.|Answer: Heart|heart|Heart.",
    "B. the hea|B: It pumps blood.|A. heart",  # a text that no option has; a text of another option
    "B,|B;|`B`|$B$|\\boxed{B}|The final answer is $\\boxed{B}$.|B, heart|B.heart|B is correct.",
    "B is the correct answer, because it pumps|B because it pumps|B, since it pumps|A mass? No, the answer is B.",
    "I think the answer is (B).|Let me see.\n\n**Answer:** B|It pumps. So the answer is: heart.",
    "The heart: answer: B. The answer is B|A: lung\nB: heart\nThe answer is B",
    "<think>The answer is A? No.</think>\nB|<think>A</think> <answer> B </answer>|So <answer>B</answer>|<answer>B",
    "### Answer\nB|$$\\boxed{\\text{B}}$$|Therefore, the correct option is **B**.",
    '{"answer": "B"}|{"reason": "A? No.", "Final_Answer": " B. heart "}|```json\n{"choice": "heart"}\n```',
    "答案:B|答案是B。|答案为\uff1a\uff22|\uff22\uff0eheart|\uff08B\uff09",  # \uff22 is B, \uff08 an opening bracket
    "The answer is heart. Answer: heart.|" + 9_999 * "The answer is heart. ",  # of a model that repeats itself
)
OTHERS = (
    "A mass in the lung|A lung mass|The answer is a mass|B-cell lymphoma|Brain|bronchus|Both|B12|B/C|A, B|e.g. heart",
    "B, lung and heart|B is large",
    "Either the answer is A or the answer is B|I cannot say: the answer is a mass|the answer is not B|Because of B",
    '{"answer": null}|{"answer": "A", "second choice": "B"}|{"text": "B"}|{"answer": "B"',
    "F|Z. heart|E. coli, probably|Answers vary|Answer:||5 mm",
)


@pytest.mark.parametrize("text", "|".join(LETTERS).split("|"))
def test_a_letter_is_read_as_its_option(text: str) -> None:
    assert _read(text) == "heart"


@pytest.mark.parametrize("text", "|".join(OTHERS).split("|"))
def test_other_words_stay_as_they_are(text: str) -> None:
    assert _read(text) == text


def test_the_text_of_an_option_is_no_letter() -> None:
    assert _read("A mass in the liver") == "A mass in the liver"
    assert _read("E. coli") == _read("D. E. coli") == "E. coli"
    assert _read("10mm") == _read("E. 10mm") == _read("e") == "10 mm"


def test_the_letter_goes_before_an_option_that_is_a_letter() -> None:
    """Hepatitis, say."""
    assert _read("A", ("C", "A", "B")) == "C"
    assert _read("A. C", ("C", "A", "B")) == "C"


def test_what_training_taught_is_read_back() -> None:
    for options in (ORGANS, tuple(f"disease {number}" for number in range(110))):
        for option in options:
            taught = respond(Task.MULTIPLE_CHOICE, Turn("Which?", option, options=options))
            assert _read(taught, options) == option


def test_questions_without_options_have_no_letters() -> None:
    assert read_answer(" B. heart ", SAMPLES[0]) == "B. heart"
    assert read_answer("<think>B?</think><answer>B. heart</answer>", SAMPLES[0]) == "B. heart"
    assert read_answer('{"answer": "B. heart"}', SAMPLES[0]) == "B. heart"


def test_options_count_without_the_task_multiple_choice() -> None:
    """PubMedQA's yes, no and maybe."""
    asked = make_sample(Task.TEXT_QA, Turn("Does it?", "maybe", options=("yes", "no", "maybe")))
    assert [read_answer(text, asked) for text in ("(C)", "The answer is maybe.", "No.")] == ["maybe", "maybe", "no"]
    assert read_answer("A. Appendicitis", asked) == "A. Appendicitis", "our prompt shows these options without letters"


def _score(rows: list[dict[str, object]]) -> dict[str, float]:
    given: dict[str, object] = dict.fromkeys(("id", "split", "question", "licence"), "")
    given |= {"source": "a", "task": "multiple_choice", "answer_type": "closed", "alternatives": [], "image_ids": []}
    given |= {"provenance": {"file": "", "record": ""}}
    table = pa.Table.from_pylist([given | row for row in rows], prediction_schema())
    metrics = score_predictions(table, {"a": len(rows)}, num_resamples=2, confidence=0.95, seed=0)
    scores: dict[str, float] = metrics["all"]
    return scores


OPTIONS = ["lung", "left lung", "heart"]
CHOICE = {"options": OPTIONS, "option_num_tokens": [2, 4, 2]}


def test_accuracies_of_multiple_choice() -> None:
    scores = _score(
        [
            {**CHOICE, "reference": "left lung", "answer": "lung", "option_log_probs": [-3.0, -4.0, -9.0]},
            {**CHOICE, "reference": "left lung", "answer": "heart", "option_log_probs": [-8.0, -9.0, -7.0]},
            {**CHOICE, "reference": "heart", "answer": "heart", "option_log_probs": [-3.0, -4.0, -1.9]},
            {**CHOICE, "reference": "lung", "answer": "B-cell", "option_log_probs": [-2.0, -2.0, -2.0]},
            {"options": [], "reference": "yes", "answer": "yes"},  # does not count
        ]
    )
    assert scores["choice_accuracy"] == 25
    assert scores["likelihood_accuracy"] == 50  # of equals, the first
    assert scores["likelihood_accuracy_normalized"] == 75


def test_another_system_has_no_likelihoods() -> None:
    scores = _score([{"options": OPTIONS, "reference": "heart", "answer": "heart"}])
    assert scores["choice_accuracy"] == 100
    assert not {name for name in scores if name.startswith("likelihood")}
