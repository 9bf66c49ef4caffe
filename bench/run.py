"""Run the benchmarks of the data stages, one after the other, and write bench/results.md and bench/growth.svg.

`--rows` are the sizes of `mix` and `validate`, whose growth is drawn with its exponent: 1 is linear.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
SCRIPTS = ("normalize", "dedup_texts", "dedup_images")


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[25_000, 50_000, 100_000])
    arguments = parser.parse_args()
    parts = [
        "# Benchmarks of the data stages\n",
        f"`make bench` on {os.cpu_count()} cores, Python {platform.python_version()}; one run.\n",
    ]
    sizes = [str(each) for each in arguments.rows]
    found = [json.loads(line) for line in run("mix_rows", "--json", "--rows", *sizes).splitlines()]
    parts += ["## mix and validate\n", *table(found), "![growth](growth.svg)\n"]
    draw(found, FOLDER / "growth.svg")
    for name in SCRIPTS:
        parts += [f"## {name}\n", f"```\n{run(name).strip()}\n```\n"]
    (FOLDER / "results.md").write_text("\n".join(parts), encoding="utf-8")
    print("\n".join(parts))


def run(name: str, *options: str) -> str:
    """Run a script and return what it prints."""
    environment = os.environ | {"PYTHONPATH": str(FOLDER.parent)}
    command = [sys.executable, str(FOLDER / f"{name}.py"), *options]
    return subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout


def table(found: list[dict[str, float | str]]) -> list[str]:
    """The lines of a Markdown table, with the exponent of each stage's CPU time."""
    lines = ["| stage | rows | s | s CPU | MB at most |", "|---|---|---|---|---|"]
    for each in found:
        times = f"{each['seconds']:.1f} | {each['cpu_s']:.1f}"
        lines.append(f"| {each['stage']} | {each['rows']:,} | {times} | {each['peak_mb']:,.0f} |")
    return [*lines, ""]


def draw(found: list[dict[str, float | str]], path: Path) -> None:
    """Draw CPU time over the number of rows, both logarithmic."""
    figure = Figure((6, 4), layout="constrained")
    axes = figure.subplots()
    for stage in dict.fromkeys(each["stage"] for each in found):
        own = [each for each in found if each["stage"] == stage]
        rows, seconds = (np.array([float(each[key]) for each in own]) for key in ("rows", "cpu_s"))
        exponent = np.polyfit(np.log(rows), np.log(seconds), 1)[0] if len(own) > 1 else float("nan")
        axes.loglog(rows, seconds, "o-", label=f"{stage}: exponent {exponent:.2f}")
    axes.set_xlabel("rows")
    axes.set_ylabel("s CPU")
    axes.legend()
    figure.savefig(path, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
