import random
import re
import string
from collections.abc import Callable
from dataclasses import replace

import pytest

from openmedq.curate.questions import Question, compare

FINDINGS = {
    "crushing chest pain radiating to the jaw": "Myocardial infarction",
    "sudden loss of vision in one eye": "Retinal artery occlusion",
    "a butterfly-shaped rash across the cheeks": "Systemic lupus erythematosus",
    "a resting tremor of the hand and slow steps": "Parkinson disease",
    "cold intolerance, dry skin and constipation": "Hypothyroidism",
    "severe flank pain with blood in the urine": "Renal calculus",
    "a pulsatile mass of the abdomen": "Aortic aneurysm",
    "fluctuating drooping of both eyelids": "Myasthenia gravis",
}
WORDS = "doctor rapid window market outcome pressure region clear river table yellow letter hospital simple"
LETTERS = "ABCD"
EDITABLE = 4  # words of a question that are longer than this and made of letters may be changed


def _draw(seed: int) -> Question:
    draw = random.Random(seed)
    found, answer = draw.choice(list(FINDINGS.items()))
    options = [*draw.sample([each for each in FINDINGS.values() if each != answer], 3), answer]
    draw.shuffle(options)
    age, days, count = draw.randint(20, 80), draw.randint(2, 20), draw.randint(100, 300)
    text = (
        f"A {age}-year-old woman with a history of asthma comes to the clinic with {found} for {days} days. "
        f"Her platelet count is {count},000 and she takes 5 mg of prednisone daily. "
        "The temperature is 38.2 °C, the blood pressure 120/105 mmHg and creatinine 0.7 mg/dL. "
        "An electrocardiogram was recorded last year. What is the most likely diagnosis?"
    )
    return Question(text, "", tuple(options), answer)


def _change_words(question: Question, draw: random.Random, number: int) -> Question:
    words = question.question.split(" ")
    places = [place for place, word in enumerate(words) if word.isalpha() and len(word) > EDITABLE and word != "woman"]
    for place in draw.sample(places, number):
        words[place] = draw.choice(WORDS.split())
    return replace(question, question=" ".join(words))


def _letter(question: Question, draw: random.Random) -> Question:
    mark = draw.choice([") ", ". ", " - ", ")", "."])
    options = tuple(f"{LETTERS[place]}{mark}{text}" for place, text in enumerate(question.options))
    place = question.options.index(question.answer)
    answer = draw.choice([question.answer, LETTERS[place], options[place]])
    if mark == " - " or (mark.endswith(" ") and draw.random() < 0.5):
        return replace(question, options=options, answer=answer)
    return replace(question, question=f"{question.question} {' '.join(options)}", options=(), answer=answer)


def _drop_sentence(question: Question, draw: random.Random) -> Question:
    sentences = question.question.split(". ")
    sentences.pop(draw.choice([1, 2]))
    return replace(question, question=". ".join(sentences))


Edit = Callable[[Question, random.Random], Question]

EDITS: dict[str, Edit] = {
    "numbering": lambda q, d: replace(
        q, question=d.choice(["12. ", "Q7: ", "(4) ", "Question 31: ", "5 ", "3.12 ", "1.4.2 "]) + q.question
    ),
    "numbering without the start": lambda q, _: replace(q, question=f"12. {q.question.split('. ', 1)[1]}"),
    "letters": _letter,
    "distractors": lambda q, _: replace(q, options=tuple(x if x == q.answer else f"{x}, late" for x in q.options)),
    "case": lambda q, d: replace(q, question=d.choice([q.question.upper(), q.question.title()])),
    "dropped sentence": _drop_sentence,
    "added sentence": lambda q, d: replace(
        q, question=d.choice([f"{q.question} Choose one option.", f"Read this case carefully. {q.question}"])
    ),
    "one word": lambda q, d: _change_words(q, d, 1),
    "two words": lambda q, d: _change_words(q, d, 2),
    "three words": lambda q, d: _change_words(q, d, 3),
}

OTHERS: dict[str, Edit] = {
    "other answer": lambda q, _: replace(q, answer=next(x for x in q.options if x != q.answer)),
    "number": lambda q, _: replace(q, question=q.question.replace(" for ", " for 1")),
    "dose": lambda q, _: replace(q, question=q.question.replace("5 mg", "10 mg")),
    "unit": lambda q, d: replace(
        q, question=d.choice([q.question.replace("5 mg", "5 g"), q.question.replace("days", "weeks")])
    ),
    "negation": lambda q, _: replace(q, question=q.question.replace("What is", "What is not")),
    "opposite": lambda q, _: replace(q, question=q.question.replace("most likely", "least likely")),
    "person": lambda q, _: replace(q, question=q.question.replace("woman", "man")),
    "sentence": lambda q, _: replace(
        q, question=q.question.replace("An electrocardiogram was recorded last year", "The liver seems enlarged today")
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_copies_are_found(name: str) -> None:
    draw = random.Random(name)
    originals = [_draw(seed) for seed in range(200)]
    assert sum(compare(each, EDITS[name](each, draw)) is not None for each in originals) >= 195


PUNCTUATION: dict[str, Callable[[str], str]] = {
    "deleted": lambda text: text.translate(str.maketrans("", "", string.punctuation)),
    "replaced": lambda text: text.translate(str.maketrans(string.punctuation, " " * len(string.punctuation))),
    "set apart": lambda text: re.sub(r"([^\w\s])", r" \1 ", text),
    "at the end": lambda text: text.rstrip("?") + " !",
    "of thousands": lambda text: text.replace(",000", "000"),
    "of thousands, a space": lambda text: text.replace(",000", " 000").replace(".", " ."),
    "of decimals": lambda text: text.replace("0.7", ".7"),
    "of a comma": lambda text: text.replace("38.2", "38,2"),
    "of units": lambda text: text.replace("5 mg", "5mg").replace(" mmHg", "mmHg").replace(" °C", "°C"),
    "of dashes": lambda text: text.replace("-", "\u2013"),
    "between sentences": lambda text: text.replace(". ", "\n"),
}


@pytest.mark.parametrize("name", PUNCTUATION)
def test_punctuation_makes_no_difference(name: str) -> None:
    for original in map(_draw, range(20)):
        assert compare(original, replace(original, question=PUNCTUATION[name](original.question))) == 1


@pytest.mark.parametrize(
    ("number", "other"), [("38.2", "382"), ("38.2", "3.82"), ("0.7", "7"), ("0.7", ".07"), ("5 mg", ".5 mg")]
)
def test_punctuation_that_changes_a_number_makes_another_question(number: str, other: str) -> None:
    original = _draw(0)
    assert compare(original, replace(original, question=original.question.replace(number, other))) is None


@pytest.mark.parametrize("name", OTHERS)
def test_other_questions_on_the_template_are_kept(name: str) -> None:
    draw = random.Random(name)
    originals = [_draw(seed) for seed in range(200)]
    assert sum(compare(each, OTHERS[name](each, draw)) is not None for each in originals) <= 1


def test_other_findings_are_another_question() -> None:
    originals = [_draw(seed) for seed in range(30)]
    pairs = [(one, other) for one in originals for other in originals if one.question != other.question]
    assert [pair for pair in pairs if compare(*pair) is not None] == []


@pytest.mark.parametrize(
    ("one", "other", "answer", "is_copy", "is_copy_on_image"),
    [
        ("Is there a pleural effusion?", "is there a pleural effusion", "yes", True, True),
        ("Is there a pleural effusion?", "Is there any pleural effusion in the image?", "yes", False, True),
        ("Is there a pleural effusion?", "Is there a pericardial effusion?", "yes", False, False),
        ("Is the left lung clear?", "Is the right lung clear?", "yes", False, False),
        ("What is the main organ in the image?", "What is the largest organ in the picture?", "Brain", False, True),
        ("Where is the lesion?", "Where is the lesion located?", "Left lobe", True, True),
        ("How many lesions are there?", "How many masses are there?", "2", False, False),
        ("Drug of choice for hyperkalemia is", "Drug of choice for hypokalemia is", "A drug", False, False),
        ("Drug of choice for partial seizures is", "Drug of choice for neuralgia is", "A drug", False, False),
        ("Most common cause of acute cystitis?", "Most frequent cause of acute cystitis?", "E. coli", True, True),
        ("Is there a pleural effusion?", "Is there a pleural effusion (yes/no)?", "yes", True, True),
        ("Does it help the elderly?", "Does it help the elderly? (Yes, no, or maybe)", "maybe", True, True),
        ("Is it clear?", "Is it clear?\nAnswer the question using a single word or phrase.", "no", False, True),
        ("Is there a pneumothorax?", "Looking at this film, is there a pneumothorax?", "yes", False, True),
        ("How many lesions are there?", "1) How many lesions are there?", "1", True, True),
        ("Most common site of haemorrhage?", "Most common site of hemorrhage?", "Putamen", True, True),
        ("Where is/are the lesion located?", "7 Where isare the lesion located", "Left lobe", True, True),
        ("图片中最大的器官是什么?", "1. 图片中最大的器官是什么？请选择一个答案。", "肺", True, True),
        ("图片中最大的器官是什么?", "第12题 图片中最大的器官是什么?", "肺", True, True),
        ("图片中最大的器官是什么?", "十二、图片中最大的器官是什么?", "肺", True, True),
        ("图片中最大的器官是什么?", "问题3：图片中最大的器官是什么?", "肺", True, True),
        ("图片中包含肺吗?", "图片中包含肺吗?（是/否）", "包含", True, True),
        ("Is the lung clear?", "<image> Is the lung clear?", "no", True, True),
        ("Is the lung clear?", "[INST] <image1>Is the lung clear?<|im_end|> [/INST]", "no</s>", True, True),
        ("Where is the lesion seen?", "Sample 7: where is the lesion seen?", "Left lobe", True, True),
        ("Where is the lesion seen in item 6?", "Where is the lesion seen in item 7?", "Left lobe", False, False),
        ("图片中包含肺吗?", "图片中不包含肺吗?", "包含", False, False),
        ("图片中包含肺吗?", "图片中包含肝吗?", "包含", False, False),
        ("图像中异常的器官在左侧吗?", "图像中病变的器官在左侧吗?", "左肺上叶", False, True),
    ],
)
def test_short_questions(one: str, other: str, answer: str, is_copy: bool, is_copy_on_image: bool) -> None:
    left, right = Question(one, "", (), answer.removesuffix("</s>")), Question(other, "", (), answer)
    assert (compare(left, right) is not None) == is_copy
    assert (compare(left, right, is_image_same=True) is not None) == is_copy_on_image


def test_answers_are_compared_as_words_and_quantities() -> None:
    question = Question("How large is the mass?", "", (), "3.5 mm.")
    assert compare(question, replace(question, answer="3.5mm")) == 1
    assert compare(question, replace(question, answer="35 mm")) is None
    assert compare(replace(question, answer="3 - 5 mm"), replace(question, answer="4 - 5 mm")) is None


@pytest.mark.parametrize(
    ("one", "other", "is_copy"),
    [
        ("Hepatitis B: chronic", "Hepatitis C: chronic", False),
        ("grade 2. glioma", "grade 3. glioma", False),
        ("CTA - CT angiography", "D. CTA - CT angiography", True),
        ("lung", "[B] lung", True),
        ("肺", "B、肺", True),
    ],
)
def test_only_a_letter_in_front_is_no_part_of_an_answer(one: str, other: str, is_copy: bool) -> None:
    question = Question("Which of these is shown by the white arrow?", "", (), one)
    assert (compare(question, replace(question, answer=other)) is not None) == is_copy


@pytest.mark.parametrize(
    "options",
    [
        "[A] {} [B] {} [C] {} [D] {}",
        "Options: Oral {}, {}, {}, {} or none",
        "Answer choices: {}; {}; {}; {}; all of them",
        "A、{} B、{} C、{} D、{}",
    ],
)
def test_options_in_the_question_are_no_part_of_it(options: str) -> None:
    question = Question("Where does it drain?", "", OFFERED, OFFERED[2])
    merged = f"{question.question} {options.format(*OFFERED)}"
    assert compare(question, replace(question, question=merged, options=())) == 1


OFFERED = ("Phenytoin", "Bleomycin", "Lithium", "Captopril")


@pytest.mark.parametrize(
    ("one", "other", "is_copy"),
    [
        ("Which of these drugs causes gingival hyperplasia?", "Which of the drugs causes gum hyperplasia?", True),
        ("Which of the following drugs causes gingival hyperplasia", "Which of window drugs causes gum market", True),
        ("Which of the following drugs causes gingival hyperplasia?", "Which of the following drugs causes pulmonary "
         "fibrosis?", False),
        ("Most common site of gastric malignancy is", "Most common site of breast malignancy is", False),
        ("Antidote in iron poisoning is", "Antidote in copper poisoning is", True),  # one word, as an edit changes
        ("Pressor of choice in pregnancy is:", "Pressor of choice in pregnancy is: Choose the single best one.", True),
        ("The boy with a rash denies fever.", "The boy with a rash reports fever.", False),
        ("The platelet count is 150,000", "The platelet count is 150 ; 000", True),
        ("A dose of 1,000 mg at 98.6°F, then .5 mm?", "A dose of 1000 mg at 98.6 °F, then 0.5mm?", True),
        ("A 45-year-old man at 98.6 F takes 5 mg.", "A 45yearold man at 986 F takes 5 mg", True),
        ("A dose of 1.5 mg", "A dose of 15 mg", False),
        ("The fever of the child was 39 °C at noon", "The fever of the child was 39 °F at noon", False),
    ],
)  # fmt: skip
def test_the_same_options(one: str, other: str, is_copy: bool) -> None:
    left, right = Question(one, "", OFFERED, "Phenytoin"), Question(other, "", OFFERED, "Phenytoin")
    assert (compare(left, right) is not None) == is_copy


@pytest.mark.parametrize(
    "answer",
    ["The answer is Lithium.", "Answer: C", "Option (C)", "the correct option is C. Lithium", "Final answer: [C]"],
)
def test_an_answer_in_a_sentence_is_the_answer(answer: str) -> None:
    question = Question("Which of these is given for mania?", "", OFFERED, "Lithium")
    assert compare(question, replace(question, answer=answer)) == 1


def test_another_context_is_another_question() -> None:
    words = [f"word{number}" for number in range(80)]
    one = Question("Does it reduce mortality in the elderly?", " ".join(words[:40]), (), "yes")
    assert compare(one, replace(one, context=" ".join(words[40:]))) is None
    assert compare(one, replace(one, context=" ".join(words[2:40]))) == 1
    assert compare(one, replace(one, question="Does it lower mortality among seniors?")) is not None, "same context"
    assert compare(one, replace(one, question="Does it not reduce mortality in the elderly?")) is None
    merged = Question(f"{one.context}. {one.question}", "", (), "yes")
    assert compare(one, merged) == 1, "the context as part of the question"
