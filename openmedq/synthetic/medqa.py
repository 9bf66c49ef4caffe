"""The generated miniature of MedQA."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from openmedq.datasets.medqa import card
from openmedq.synthetic.draw import generator
from openmedq.synthetic.files import save, to_json_lines, to_zip

_SIGNS = {  # the rule to learn: each sign belongs to one disease
    "crushing chest pain": "Myocardial infarction",
    "wheezing at night": "Asthma",
    "a butterfly rash": "Lupus erythematosus",
    "pain in the right lower abdomen": "Appendicitis",
    "silvery plaques on the elbows": "Psoriasis",
    "a swollen and red big toe": "Gout",
    "a stiff neck and fever": "Meningitis",
    "a tremor at rest": "Parkinson disease",
    "yellow eyes": "Hepatitis",
    "flank pain and blood in the urine": "Kidney stone",
    "great thirst": "Diabetes mellitus",
    "pale skin and fatigue": "Anemia",
}
_PATIENTS = ("man", "woman", "boy", "girl", "nurse", "farmer", "teacher", "sailor")
_NUM_QUESTIONS = {"train": 60, "dev": 16, "test": 20}


def write(raw: Path, seed: int = 0) -> None:
    """Write the zip with 96 questions with four options."""
    random = generator(seed, card.id)
    cases = list(product(_SIGNS, _PATIENTS))
    drawn = iter([cases[index] for index in random.permutation(len(cases))])
    files: dict[str, str] = {}
    for split, num_questions in _NUM_QUESTIONS.items():
        rows = [_record(random, *next(drawn)) for _ in range(num_questions)]
        _add_oddities(rows, split)
        name = f"data_clean/questions/US/4_options/phrases_no_exclude_{split}.jsonl"
        files[name] = to_json_lines(_drop_option(row, random) for row in rows)
        random.integers(1000, size=2)  # keeps the numbers of the next split
    save(raw / "data_clean.zip", to_zip(files))


def _record(random: np.random.Generator, sign: str, patient: str) -> dict[str, Any]:
    """Return a question with five options."""
    answer = _SIGNS[sign]
    others = [disease for disease in _SIGNS.values() if disease != answer]
    shown = [answer, *(others[index] for index in random.permutation(len(others))[:4])]
    options = {letter: shown[index] for letter, index in zip("ABCDE", random.permutation(5), strict=True)}
    age = int(random.integers(20, 80))
    findings = "\nLaboratory studies show:\nSodium 140 mEq/L\n" if random.random() < 0.2 else " "
    return {
        "question": f"A {age}-year-old {patient} comes to the physician because of {sign}.{findings}"
        "Which of the following is the most likely diagnosis?",
        "answer": answer,
        "options": options,
        "meta_info": "step1" if random.random() < 0.5 else "step2&3",
        "answer_idx": next(letter for letter, option in options.items() if option == answer),
        "metamap_phrases": [f"{age} year old {patient}", "physician", sign, "following", "most likely diagnosis"],
    }


def _drop_option(row: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
    """Return the question with four options in another order."""
    kept = [option for letter, option in row["options"].items() if letter != row["answer_idx"]]
    shown = [row["answer"], *(kept[index] for index in random.permutation(4)[:3])]
    options = {letter: shown[index] for letter, index in zip("ABCD", random.permutation(4), strict=True)}
    letter = next(letter for letter, option in options.items() if option == row["answer"])
    return {**row, "options": options, "answer_idx": letter}


def _add_oddities(rows: list[dict[str, Any]], split: str) -> None:
    rows[0]["question"] += '"'
    rows[1]["question"] = f"  {rows[1]['question']} "
    letter = rows[2]["answer_idx"]
    rows[2]["options"][letter] += " "
    rows[2]["answer"] += " "
    rows[3]["question"] = rows[3]["question"].replace(" Which", " A photograph of the patient is shown. Which")
    rows[4]["metamap_phrases"][-1] = "ost likely  iagnosis"
    if split == "test":
        rows[5]["meta_info"] = "stfep2&3"
