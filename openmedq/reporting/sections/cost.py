"""What the run has cost."""

from collections.abc import Iterator

from openmedq.errors import numbered
from openmedq.reporting.document import NOTHING, Block, Cell, Table, Text, text
from openmedq.reporting.results import Results
from openmedq.storage.timing import Timing


def show_cost(results: Results) -> Iterator[Block]:
    """Time and counts of the stages that occupy a device."""
    rows = [
        [text(title), text(counts), *_list_times(results.timings.get(node))]
        for node, title, counts in _list_stages(results)
    ]
    if rows:
        yield Text(
            "Wall time from the start of a stage to its end, attempts that were interrupted included. Device hours are "
            "wall time times devices. Times are known only where the outputs were made on this machine."
        )
        yield Table(["Stage", "Counts", "Device", "Wall time", "Device hours"], rows)


def _list_stages(results: Results) -> Iterator[tuple[str, str, str]]:
    """(node, title, counts) of each stage that has been run."""
    if training := results.training:
        counts = f"{training['num_steps']:,} updates, {training['num_samples']:,} samples"
        for name, of in (("loss", "loss"), ("validation_loss", "validation loss")):
            if name in training:
                counts += f", {of} {training[name]:.3f}"
        if "num_tokens" in training:
            counts += f", {training['num_tokens']:,} tokens in the loss"
        if training.get("num_cut_samples"):
            counts += f", {training['num_cut_samples']:,} samples cut to train.max_tokens"
        yield "train", "Training", counts
    if results.evaluation:
        counts = f"{results.evaluation['all']['num_rows']:,} answers"
        for name, one, words in (
            ("num_tokens", "token", "generated"),
            ("num_cut", "prompt", "cut"),
            ("num_unended", "answer", "cut"),
        ):
            if number := results.generation.get(name):
                counts += f", {numbered(number, one)} {words}"
        yield "evaluate", "Evaluation", counts
    for encoder in results.encoders:
        counts = numbered(len(list(results.iterate_transfers())), "dataset")
        yield f"transfer-{encoder}", f"Transfer, {encoder}", counts


def _list_times(timing: Timing | None) -> list[Cell]:
    if timing is None:
        return [Cell("not recorded", kind="none"), *[Cell(NOTHING, kind="number none")] * 2]
    device = timing.device if timing.num_devices == 1 else f"{timing.num_devices} × {timing.device}"
    attempts = f"{timing.num_attempts} attempts" if timing.num_attempts > 1 else ""
    return [
        text(device),
        Cell(_format_time(timing.seconds), attempts, "number"),
        Cell(
            f"{timing.device_hours:,.2f}" if timing.device_hours >= 0.1 else f"{timing.device_hours:.4f}", "", "number"
        ),
    ]


def _format_time(seconds: float) -> str:
    """`7 s`, `3 min 20 s` or `12 h 5 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_of_hour = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes_of_hour} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
