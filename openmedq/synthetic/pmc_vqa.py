"""The generated miniature of PMC-VQA."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from openmedq.datasets.pmc_vqa import CHOICES, LETTERS, card
from openmedq.datasets.readers.pmc_licences import ARTICLES
from openmedq.synthetic.draw import POSITIONS, Figure, draw, draw_figures, encode_jpeg, generator, shared_figure
from openmedq.synthetic.files import save, to_article_list, to_csv, to_zip

_HEADERS = {
    "1": ("Figure_path", "Question", "Answer", *CHOICES, "Answer_label"),
    "2": ("index", "Figure_path", "Caption", "Question", *CHOICES, "Answer", "split"),
}
_NUM_TEST, _NUM_CLEAN = 40, 12


def write(raw: Path, seed: int = 0) -> None:
    """Write version 1 with 80 training and 40 test rows, 12 of them clean, and version 2 with 9 rows."""
    random = generator(seed, card.id)
    figures = [shared_figure(seed), *draw_figures(seed, card.id, num_rounds=1)[:104]]
    articles = np.sort(random.choice(np.arange(1_000_000, 9_000_000), len(figures), replace=False))
    names = [f"PMC{article}_F{index % 4 + 1}" for index, article in enumerate(articles)]
    images = {f"{name}.jpg": encode_jpeg(draw(figure)) for name, figure in zip(names, figures, strict=True)}
    rows = [_ask(random, f"{name}.jpg", figures[index], index) for index, name in enumerate(names)]
    rows += [_ask(random, f"{names[index]}.jpg", figures[index], index + 1) for index in range(15)]  # a second question

    test, train = rows[-_NUM_TEST - 15 : -15], rows[: -_NUM_TEST - 15] + rows[-15:]
    compound = np.hstack([draw(figures[9])[::2, ::2], draw(figures[10])[::2, ::2]])
    images[train[9]["Figure_path"]] = encode_jpeg(compound)
    train[9] |= _offer(random, "How many panels, (A) and so on,\nare shown?", ["One", "Two", "Three", "Four"], 1)
    train[4]["Answer"] = "in the part that is called " + train[4]["Answer"]
    train[5]["Choice A"] = train[5]["Choice A"].replace("A:", "")
    unanswered = next(choice for choice in CHOICES if choice[-1] != train[6]["Answer_label"])
    train[6][unanswered] = f" {unanswered[-1]}: "
    train[7][f"Choice {train[7]['Answer_label']}"] = ""
    del images[test[8]["Figure_path"]]

    _write(raw / "train.csv", _HEADERS["1"], train)
    _write(raw / "test.csv", _HEADERS["1"], test)
    _write(raw / "test_clean.csv", _HEADERS["1"], test[::3][:_NUM_CLEAN])
    save(raw / "images.zip", _pack(images))
    save(raw / ARTICLES.path, to_article_list(name.partition("_")[0] for name in names[1:]))
    simple = [
        row | {"index": str(index), "Figure_path": row["Figure_path"].replace(".jpg", f"_{index}.jpg")}
        for index, row in enumerate(train[20:29])
    ]
    for row in simple:
        row |= {"Caption": f"The picture tells: {row['Answer']}", "Answer": row["Answer_label"], "split": "train"}
    _write(raw / "train_2.csv", _HEADERS["2"], simple[:6])
    _write(raw / "test_2.csv", _HEADERS["2"], [row | {"split": "test"} for row in simple[6:]])
    save(raw / "images_2.zip", _pack({row["Figure_path"]: images[f"{row['Figure_path'][:-6]}.jpg"] for row in simple}))


def _ask(random: np.random.Generator, name: str, figure: Figure, index: int) -> dict[str, str]:
    """A row about one property of a figure."""
    size, level = "large" if figure.is_large else "small", "bright" if figure.is_bright else "dark"
    unknown = "Not told, from this picture"
    asked = (
        ("In which part of the image is the mass? ", [place.capitalize() for place in POSITIONS], figure.position),
        ("Which organ is shown?", ["Head", "Chest", "Abdomen", unknown], figure.organ),
        ('Is the mass "large" or "small"? ', ["Large", "Small", "No mass", unknown], size),
        ("What is the background like?", ["Bright", "Dark", "Striped", unknown], level),
    )
    question, choices, answer = asked[index % len(asked)]
    choices = [choices[number] for number in random.permutation(len(choices))]
    return {"Figure_path": name} | _offer(random, question, choices, choices.index(answer.capitalize()))


def _offer(random: np.random.Generator, question: str, choices: list[str], index: int) -> dict[str, str]:
    """A question with its choices, with letters and spaces as published."""
    spaces = [" " * number for number in random.integers(0, 2, 2 * len(choices))]
    lettered = {
        f"Choice {letter}": f" {letter}:{spaces[2 * number]}{choices[number]}{spaces[2 * number + 1]}"
        for number, letter in enumerate(LETTERS)
    }
    return {"Question": question, "Answer": choices[index], **lettered, "Answer_label": LETTERS[index]}


def _write(path: Path, header: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    save(path, to_csv(header, *([row[name] for name in header] for row in rows)))


def _pack(images: Mapping[str, bytes]) -> bytes:
    return to_zip({f"figures/{name}": data for name, data in sorted(images.items())})
