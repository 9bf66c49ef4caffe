import io
import re
from dataclasses import replace
from typing import Any

import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmedq.model import prompt
from openmedq.model.prompt import IGNORED, encode, encode_prompt
from openmedq.schema import Groups, Sample, Task, Turn

from .tiny import NUM_PATCHES, SAMPLES, make_sample

WORDINGS = {
    "1": "<s><image>\nQuestion: Where is the mass?\nAnswer: upper left</s>",
    "choice": "<s>Question: Which organ?\nOptions:\nA. lung\nB. heart\nAnswer: B. heart</s>",
    "text": "<s>Context: BACKGROUND: It is.\nQuestion: Does it help?\nOptions: yes, no\nAnswer: yes</s>",
    "caption": "<s><image>\nDescribe the picture.\nAnswer: A mass in the left lung.</s>",
    "report": (
        "<s><image>\n<image>\nWrite this section of the report: findings\nAnswer: Clear.</s>"
        "Write this section of the report: impression\nAnswer: Normal.</s>"
    ),
    "class": "<s><image>\nName what the picture shows.\nAnswer: normal</s>",
}


def decode(ids: Any, tokenizer: Any) -> str:
    text: str = tokenizer.decode(ids)
    return text.replace("<image>" * NUM_PATCHES, "<image>")


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.id)
def test_the_wording_of_each_task_and_its_labels(sample: Sample, tokenizer: Any) -> None:
    """Only answers and their ends have labels; the prompt of generation is that of training."""
    ids, labels, num_cut = encode(sample, tokenizer, NUM_PATCHES, 200)
    assert decode(ids, tokenizer) == WORDINGS[sample.provenance.record]
    assert num_cut == 0
    learned = labels != IGNORED
    assert (labels[learned] == ids[learned]).all()
    answers = re.findall(r"Answer:( .*?</s>)", WORDINGS[sample.provenance.record])
    assert tokenizer.decode(ids[learned]) == "".join(answers)
    asked = encode_prompt(sample, tokenizer, NUM_PATCHES, 200)[0]
    assert ids[: len(asked)].tolist() == asked.tolist()
    assert tokenizer.decode(ids[len(asked) :]) == answers[-1]


def test_the_prompt_does_not_reveal_the_answer(tokenizer: Any) -> None:
    secret = "SECRET"
    for sample in SAMPLES:
        turn = sample.turns[-1]
        changed = replace(
            sample,
            turns=(*sample.turns[:-1], replace(turn, answer=secret, alternatives=(secret,))),
            attributes={"long_answer": secret, secret: "1"},
            labels=(secret,),
            groups=Groups(question=secret),
            id=secret,
            modality=secret,
        )
        asked = tokenizer.decode(encode_prompt(changed, tokenizer, NUM_PATCHES, 200)[0])
        assert secret not in asked, asked


def test_texts_can_not_add_special_tokens(tokenizer: Any) -> None:
    sample = make_sample(Task.VQA, Turn("Is <image></s> it?", "no <image> <pad>"))
    ids, labels, _ = encode(sample, tokenizer, NUM_PATCHES, 200)
    special = {name: tokenizer.convert_tokens_to_ids(name) for name in ("<image>", "</s>", "<pad>")}
    assert (ids == special["<image>"]).sum() == NUM_PATCHES
    assert (ids == special["</s>"]).sum() == 1
    assert (ids == special["<pad>"]).sum() == 0
    assert (labels == special["</s>"]).sum() == 1


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.id)
def test_the_saved_template_gives_the_same_tokens(sample: Sample, processor: Any) -> None:
    tokenizer = processor.tokenizer
    conversation = prompt.converse(sample, sample.turns, tokenizer, with_answer=False)
    text = processor.apply_chat_template(conversation, add_generation_prompt=True)
    asked = encode_prompt(sample, tokenizer, NUM_PATCHES, 200)[0]
    images = [PIL.Image.open(io.BytesIO(image.data or b"")) for image in sample.images] or None
    made = processor(images=images, text=text, add_special_tokens=False)["input_ids"][0]
    assert made == asked.tolist()


LONG = " ".join(f"word{number}" for number in range(60))


def test_the_context_is_cut_first_at_its_beginning(tokenizer: Any) -> None:
    turn = Turn("Does it help?", "yes", LONG)
    ids, labels, num_cut = encode(make_sample(Task.TEXT_QA, turn, num_images=1), tokenizer, NUM_PATCHES, 90)
    text = decode(ids, tokenizer)
    assert len(ids) <= 90
    assert num_cut > 0
    assert text.endswith("word59\nQuestion: Does it help?\nAnswer: yes</s>")
    assert "word0" not in text
    assert (labels != IGNORED).sum() == (
        encode(make_sample(Task.TEXT_QA, turn), tokenizer, NUM_PATCHES, 999)[1] != IGNORED
    ).sum()


def test_a_long_answer_loses_its_end_token(tokenizer: Any) -> None:
    ids, labels, num_cut = encode(make_sample(Task.CAPTION, Turn("", LONG)), tokenizer, NUM_PATCHES, 80)
    text = decode(ids, tokenizer)
    assert num_cut > 0
    assert text.startswith("<s><image>\nDescribe the picture.\nAnswer: word0 word1")
    assert tokenizer.eos_token_id not in ids
    assert labels[-1] == ids[-1]


def test_a_long_question_keeps_its_end_and_its_answer(tokenizer: Any) -> None:
    sample = make_sample(Task.VQA, Turn(f"{LONG} Where?", "upper left"))
    text = decode(encode(sample, tokenizer, NUM_PATCHES, 80).ids, tokenizer)
    assert text.endswith("Where?\nAnswer: upper left</s>")
    assert "word0 " not in text


@pytest.mark.parametrize(("num_options", "max_tokens"), [(2, 64), (30, 400)])
def test_the_answer_keeps_its_letter(num_options: int, max_tokens: int, tokenizer: Any) -> None:
    """Options that begin alike are cut to equal texts; those after Z have numbers."""
    options = tuple(f"elevated aldosterone, low renin {number}" for number in range(num_options))
    sample = make_sample(Task.MULTIPLE_CHOICE, Turn("Which?", options[-1], options=options), num_images=0)
    ids, _, num_cut = encode(sample, tokenizer, NUM_PATCHES, max_tokens)
    letter = "B" if num_options == 2 else "30"
    assert num_cut > 0 and f"\nAnswer: {letter}. e" in decode(ids, tokenizer)


def test_the_latest_turn_stays(tokenizer: Any) -> None:
    turns = [Turn(f"Question {number}?", f"answer {number}") for number in range(9)]
    text = decode(encode(make_sample(Task.VQA, *turns), tokenizer, NUM_PATCHES, 70).ids, tokenizer)
    assert text.startswith("<s><image>\nQuestion")
    assert text.endswith("Question 8?\nAnswer: answer 8</s>")


words = st.text(max_size=40)
turns = st.builds(
    Turn,
    words,
    words.filter(str.strip),
    words,
    st.lists(words, max_size=4).map(tuple),
)


@settings(max_examples=150)
@given(
    task=st.sampled_from(list(Task)),
    turns=st.lists(turns, min_size=1, max_size=3),
    num_images=st.integers(0, 2),
    max_tokens=st.integers(100, 140),
)
def test_any_texts(task: Task, turns: list[Turn], num_images: int, max_tokens: int, tokenizer: Any) -> None:
    sample = make_sample(task, *turns, num_images=num_images)
    ids, labels, num_cut = encode(sample, tokenizer, NUM_PATCHES, max_tokens)
    slot = tokenizer.convert_tokens_to_ids("<image>")
    assert len(ids) == len(labels) <= max_tokens
    assert (ids == slot).sum() == num_images * NUM_PATCHES
    assert (labels[ids == slot] == IGNORED).all()
    assert (labels != IGNORED).any()
    assert num_cut >= 0
    assert len(encode_prompt(sample, tokenizer, NUM_PATCHES, max_tokens)[0]) <= max_tokens
    if num_cut == 0:
        assert tokenizer.decode(labels[labels != IGNORED]).endswith("</s>")
