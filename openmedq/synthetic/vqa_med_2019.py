"""The generated miniature of VQA-Med 2019."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from openmedq.datasets.vqa_med_2019 import CATEGORIES, FILES, QUESTIONS, REFERENCES, SPLITS, Split, card
from openmedq.synthetic.draw import Figure, draw, draw_figures, encode_jpeg, generator, shared_figure
from openmedq.synthetic.files import join, save, to_zip

_NUM_IMAGES = {"train": 20, "validation": 5, "test": 24}
_ORGANS = {"head": "skull and contents", "chest": "lung, mediastinum, pleura", "abdomen": "gastrointestinal"}
_PLANES = {"upper left": "axial", "upper right": "sagittal", "lower left": "coronal", "lower right": "ap"}


def write(raw: Path, seed: int = 0) -> None:
    """Write three zips and the README: 25 images with four questions each, and 24 test images with one each."""
    random = generator(seed, card.id)
    figures = [shared_figure(seed), *draw_figures(seed, card.id, num_rounds=1)]
    names = iter(random.choice(np.arange(10_000, 60_000), sum(_NUM_IMAGES.values()), replace=False))
    save(raw / FILES[-1], f"VQA-Med @ ImageClef 2019, generated with seed {seed}\n")
    for split in SPLITS:
        shown = {f"synpic{next(names)}": _take(figures, index) for index in range(_NUM_IMAGES[split.name])}
        images = {f"{split.images[0]}/{name}.jpg": encode_jpeg(draw(figure)) for name, figure in shown.items()}
        if split.suffix:
            members = {**_pair(shown, split), **images}
        else:
            members = {**_refer(shown), f"{split.images[0]}.zip": to_zip(images)}
        packed = {f"{split.folder}/{name}": data for name, data in members.items()}
        if not split.suffix:
            packed[f"__MACOSX/{split.folder}/._{split.text}"] = b"Mac OS X"
        save(raw / f"{split.folder}.zip", to_zip(packed))


def _take(figures: list[Figure], index: int) -> Figure:
    """The next figure. After the first four, the kind changes every four figures, so that the test has all kinds."""
    kind = (index // 4 % 2 == 1, index // 8 % 2 == 1)
    found = (i for i, figure in enumerate(figures) if index < 4 or (figure.is_bright, figure.is_large) == kind)
    return figures.pop(next(found))


def _ask(figure: Figure, *, is_closed: bool) -> dict[str, tuple[str, str]]:
    """Question and answer by category. Each answer depends on one property of the figure."""
    size = "large" if figure.is_large else "small"
    abnormality = ("what abnormality is seen in the image?", f"{size} mass")
    if is_closed:
        abnormality = ("is the mass large?", "yes" if figure.is_large else "no")
    return {
        "modality": ("what modality is shown?", "xr - plain film" if figure.is_bright else "ct w/contrast (iv)"),
        "plane": ("what plane is demonstrated?", _PLANES[figure.position]),
        "organ": ("what organ system is shown in this image?", _ORGANS[figure.organ]),
        "abnormality": abnormality,
    }


def _pair(shown: Mapping[str, Figure], split: Split) -> dict[str, bytes]:
    """The text files of training or validation: all pairs, the pairs by category, the image names."""
    lines: dict[str, list[str]] = {category: [] for category in CATEGORIES}
    for index, (name, figure) in enumerate(shown.items()):
        for category, (question, answer) in _ask(figure, is_closed=index % 2 == 0).items():
            lines[category].append(f"{name}|{question}|{answer}")
    if split.name == "train":
        del lines["abnormality"][-1]  # an image with three questions
        lines["plane"][0] = lines["plane"][0].replace("?|", "?\r|")
    texts = {split.text: [line for category in CATEGORIES for line in lines[category]]}
    texts |= {f"QAPairsByCategory/{CATEGORIES[name]}_{split.suffix}.txt": lines[name] for name in CATEGORIES}
    texts[f"{split.suffix}_ImageIDs.txt"] = list(shown)
    end = "\n" if split.name == "train" else "\r\n"
    return {name: join(text, end).encode() for name, text in texts.items()}


def _refer(shown: Mapping[str, Figure]) -> dict[str, bytes]:
    """The text files of the test: questions, references and their rule."""
    questions, references = "", ""
    for index, (name, figure) in enumerate(shown.items()):
        category = list(CATEGORIES)[index % 4]
        question, answer = _ask(figure, is_closed=index % 8 < 4)[category]
        if answer.endswith("mass"):
            answer += " (solitary)" if index % 16 < 8 else "#tumor#neoplasm"
        questions += f"{name}|{question}\n"
        references += f"{name}|{category}|{question}|{answer}\n"
    rule = "# denotes several possible answers, () denotes an optional part\n"
    texts = {QUESTIONS: questions, REFERENCES: references, "README-VQA-Med-2019-TestSet.txt": rule}
    return {name: text.encode() for name, text in texts.items()}
