"""The generated miniature of PMC-OA."""

from pathlib import Path

import numpy as np

from openmedq.datasets.pmc_oa import FOLDER, card
from openmedq.datasets.readers.pmc_licences import ARTICLES
from openmedq.synthetic.draw import Figure, describe, draw, draw_figures, encode_jpeg, generator, shared_figure, tint
from openmedq.synthetic.files import save, to_article_list, to_json_lines, to_zip

_TINTS = ((1.0, 0.85, 0.95), (0.9, 1.0, 1.05))


def write(raw: Path, seed: int = 0) -> None:
    """Write `pmc_oa.jsonl` with about 300 pairs, `pmc_oa_beta.jsonl` and `images.zip`."""
    random = generator(seed, card.id)
    figures = draw_figures(seed, card.id, num_rounds=2)
    names = _figure_names(random, len(figures) + 4)
    images = {name: _encode(figure, index) for index, (name, figure) in enumerate(zip(names, figures, strict=False))}
    pairs = [(name, _caption(figure)) for name, figure in zip(names, figures, strict=False)]

    again, recoded, shared, absent = names[len(figures) :]
    images[again] = images[names[5]]
    images[recoded] = encode_jpeg(draw(figures[9]), quality=60)
    images[shared] = encode_jpeg(draw(shared_figure(seed)))
    pairs += [(again, _caption(figures[5])), (recoded, _caption(figures[9])), (shared, _caption(shared_figure(seed)))]
    pairs += [(absent, "Axial image of the chest."), (names[7], "The same picture with a second caption.")]
    pairs[11] = (pairs[11][0], pairs[12][1])  # one caption for two images
    pairs = [pairs[index] for index in random.permutation(len(pairs))]

    save(raw / "pmc_oa.jsonl", to_json_lines({"image": name, "caption": caption} for name, caption in pairs))
    save(raw / "pmc_oa_beta.jsonl", to_json_lines(_compound(names[:40], figures)))
    save(raw / ARTICLES.path, to_article_list(sorted({name.partition("_")[0] for name in names[:200]})))
    save(raw / "images.zip", to_zip({f"{FOLDER}/{name}": data for name, data in sorted(images.items())}))


def _figure_names(random: np.random.Generator, num_names: int) -> list[str]:
    """Names with three figures per article, two images per figure and a number that counts all images."""
    articles = np.sort(random.choice(np.arange(200_000, 9_000_000), num_names // 6 + 1, replace=False))
    return [f"PMC{articles[index // 6]}_F{index // 2 % 3 + 1}_{index}.jpg" for index in range(num_names)]


def _compound(names: list[str], figures: list[Figure]) -> list[dict[str, str]]:
    """The lines of the beta list: both images of a figure with the whole caption."""
    records = []
    for index, name in enumerate(names):
        caption = " ".join(f"({part}) {_caption(figures[index // 2 * 2 + place])}" for place, part in enumerate("AB"))
        article, figure, _ = name.split("_")
        records.append({"image": name, "caption": caption, "pmcid": article, "url_name": f"{figure}.jpg"})
    return records


def _encode(figure: Figure, index: int) -> bytes:
    pixels = draw(figure)
    if index == 2:
        return encode_jpeg(pixels, mode="CMYK")
    if index % 3 == 1:
        return encode_jpeg(tint(pixels, _TINTS[index % 2]), mode="RGB")
    return encode_jpeg(pixels)


def _caption(figure: Figure) -> str:
    return f"Image of the {figure.organ}. {describe(figure)}"
