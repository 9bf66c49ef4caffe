"""Time and memory of `mix` and `validate` over generated text rows, each in a process of its own."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

STAGES = ("mix", "validate")


def main() -> None:
    """Print a line for each stage and number of rows; with `--one`, run one stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    parser.add_argument("--one", choices=STAGES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one)))
        return
    for num_rows in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            for stage, found in measure_all(num_rows, Path(folder)).items():
                if arguments.json:
                    print(json.dumps({"stage": stage, "rows": num_rows, **found}), flush=True)
                    continue
                times = f"{found['seconds']:>7.1f} s {found['cpu_s']:>7.1f} s CPU"
                print(f"{stage:<10} {num_rows:>9,} rows {times} {found['peak_mb']:>7,.0f} MB", flush=True)


def measure_all(num_rows: int, folder: Path) -> dict[str, dict[str, float]]:
    """Write the rows below the folder and measure both stages."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    write = f"from bench import rows; rows.write({num_rows})"
    (folder / "data").mkdir()
    subprocess.run([sys.executable, "-c", write], check=True, cwd=folder, env=environment)
    found = {}
    for stage in STAGES:
        command = [sys.executable, str(Path(__file__).resolve()), "--one", stage]
        done = subprocess.run(command, check=True, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
        found[stage] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(stage: str) -> dict[str, float]:
    """Run a stage in the current folder, after its imports."""
    from openmedq.config import profile

    params = profile(Path(__file__).parents[1] / "openmedq" / "conf", "miniature")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Great Expectations imports deprecated modules
        run = importlib.import_module(f"openmedq.curate.{stage}").run
    start, start_cpu = time.perf_counter(), time.process_time()
    run(params)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_s": time.process_time() - start_cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    main()
