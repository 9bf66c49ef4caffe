"""Time and memory of `mix` and `validate` over generated text rows, each in a process of its own."""

import argparse
import importlib
import json
import tempfile
import warnings
from pathlib import Path

import apart
import rows

STAGES = ("mix", "validate")


def main() -> None:
    """Print a line for each stage and number of rows; with `--one`, run one stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        what, *rest = arguments.one
        if what == "write":
            rows.write(int(rest[0]))
        print(json.dumps({} if what == "write" else measure(what)))
        return
    for num_rows in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            for stage, found in measure_all(num_rows, Path(folder)).items():
                if arguments.json:
                    print(json.dumps({"program": stage, "rows": num_rows, **found}), flush=True)
                    continue
                times = f"{found['seconds']:>7.1f} s {found['cpu_s']:>7.1f} s CPU"
                print(f"{stage:<10} {num_rows:>9,} rows {times} {found['peak_mb']:>7,.0f} MB", flush=True)


def measure_all(num_rows: int, folder: Path) -> dict[str, dict[str, float]]:
    """Write the rows below the folder and measure both stages."""
    (folder / "data").mkdir()
    apart.run(__file__, "write", num_rows, cwd=folder)
    return {stage: apart.run(__file__, stage, cwd=folder) for stage in STAGES}


def measure(stage: str) -> dict[str, float]:
    """Run a stage in the current folder, after its imports."""
    from openmedq.config import profile

    params = profile(Path(__file__).parents[1] / "openmedq" / "conf", "miniature")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Great Expectations imports deprecated modules
        run = importlib.import_module(f"openmedq.curate.{stage}").run
    return apart.measure(lambda: run(params))[1]


if __name__ == "__main__":
    main()
