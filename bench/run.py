"""Run the benchmarks of the data stages, one after the other, and write bench/results.md and bench/growth.svg.

`--rows` are the sizes of `mix`, `validate` and the text part of `deduplicate`, whose growth is drawn with its exponent:
1 is linear. The sizes of the paper's mix take an hour: `--rows 100000 500000 1000000 3350000`.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
SCRIPTS = ("normalize", "dedup_images")


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[25_000, 50_000, 100_000])
    arguments = parser.parse_args()
    command = shlex.join(["python", "bench/run.py", *sys.argv[1:]])
    parts = [
        "# Benchmarks of the data stages\n",
        f"`{command}` on {os.cpu_count()} cores, Python {platform.python_version()}; one run.\n",
    ]
    sizes = [str(each) for each in arguments.rows]
    found = [json.loads(line) for line in run("dedup_texts", "--json", "--rows", *sizes).splitlines()]
    parts += ["## Growth\n", *table(found), "![growth](growth.svg)\n"]
    draw(found, FOLDER / "growth.svg")
    for name in SCRIPTS:
        parts += [f"## {name}\n", f"```\n{run(name).strip()}\n```\n"]
    (FOLDER / "results.md").write_text("\n".join(parts), encoding="utf-8")
    print("\n".join(parts))


def run(name: str, *options: str) -> str:
    """Run a script and return what it prints."""
    paths = os.pathsep.join(filter(None, (str(FOLDER.parent), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, str(FOLDER / f"{name}.py"), *options]
    return subprocess.run(
        command, check=True, env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True
    ).stdout


def table(found: list[dict[str, float | str]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = ["| program | rows | s | s CPU | MB at most | found |", "|---|---|---|---|---|---|"]
    for each in found:
        times = f"{each['seconds']:.1f} | {each['cpu_s']:.1f} | {each['peak_mb']:,.0f}"
        lines.append(f"| {each['program']} | {each['rows']:,} | {times} | {each.get('text', '')} |")
    return [*lines, ""]


def draw(found: list[dict[str, float | str]], path: Path) -> None:
    """Draw CPU time over the number of rows, both logarithmic."""
    figure = Figure((6, 4), layout="constrained")
    axes = figure.subplots()
    for program in dict.fromkeys(each["program"] for each in found):
        own = [each for each in found if each["program"] == program]
        rows, seconds = (np.array([float(each[key]) for each in own]) for key in ("rows", "cpu_s"))
        exponent = np.polyfit(np.log(rows), np.log(seconds), 1)[0] if len(own) > 1 else float("nan")
        axes.loglog(rows, seconds, "o-", label=f"{program}: exponent {exponent:.2f}")
    axes.set_xlabel("rows")
    axes.set_ylabel("s CPU")
    axes.legend()
    figure.savefig(path, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
