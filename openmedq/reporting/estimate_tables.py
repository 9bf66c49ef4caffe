"""Command `estimate`: tables of parameters, memory, data, FLOPs and times of a training."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from openmedq import config, paths
from openmedq.errors import ParamsError
from openmedq.evaluation.terminal import make_table
from openmedq.reporting.estimate import GIB, Estimate, estimate
from openmedq.storage.tables import INDEX

MIB = 2**20
HOURS_OF_DAY = 24
CONVENTION = (
    "FLOPs by the convention for frozen weights under LoRA: 4 N a token for frozen weights that gradients pass "
    "through, 6 N for trained ones, N weights of matrix products; attention is added."
)
LIMITS = (
    "Memory of one GPU, without torch.compile and Liger's kernels; all positions that are not image slots count as "
    "learned. What a contrastive loss adds, a pass over the answers, is not counted; alone, it is a pass over all "
    "texts. Times are of training alone, on one GPU, with dense peaks as NVIDIA states them. An MFU of 20 % was "
    "measured on an H100."
)


def run(profile: str | None, mfu: float) -> None:
    """Print what a training needs: of params.yaml and the index, or of a profile and the published datasets.

    Raises:
        ModelError: the sizes of the language model are unknown.
        ParamsError: `mfu` is not a percentage, or the profile does not exist.
    """
    if not 0 < mfu <= 100:
        raise ParamsError(f"--mfu: {mfu:g} is not a percentage above 0 and at most 100")
    params = config.profile(paths.CONF, profile) if profile else config.load(paths.PARAMS)
    found = estimate(params, mfu / 100, has_index=profile is None and INDEX.exists())
    _show(Console(), found, f"the profile `{profile}`" if profile else str(paths.PARAMS), mfu)


def _show(console: Console, estimate: Estimate, title: str, mfu: float) -> None:
    """Print four tables and the conventions behind them."""
    console.print(Text(f"Estimate of the training of {title}", style="bold"), end="\n\n")
    settings = estimate.settings
    micro = f"micro batch of {estimate.micro_batch_size} x {settings.max_tokens} tokens in {settings.precision}"
    micro += ", activation checkpointing" if settings.activation_checkpointing else ""
    for heading, table in (
        ("Parameters", _list_parts(estimate)),
        (f"Memory: {micro}", _list_memory(estimate)),
        (f"Data: {estimate.epoch.origin}", _list_work(estimate)),
        (f"One GPU: time of {estimate.num_epochs:,.3g} epochs at an MFU of {mfu:g} %", _list_gpus(estimate)),
    ):
        console.print(Text(heading, style="bold"))
        console.print(table)
        console.print()
    for text in (CONVENTION, LIMITS):
        console.print(Text(text, style="dim"))


def _list_parts(estimate: Estimate) -> Table:
    table = make_table("", "part", "all", "trained", "FLOPs a token")
    for part in estimate.parts:
        trained = f"{part.num_trained:,}" if part.num_trained else "-"
        table.add_row(part.name, f"{part.num_parameters:,}", trained, _format(part.flops))
    names = ("num_parameters", "num_trained")
    table.add_section()
    table.add_row("all", *(f"{sum(getattr(part, name) for part in estimate.parts):,}" for name in names), style="bold")
    return table


def _list_memory(estimate: Estimate) -> Table:
    memory = estimate.memory
    unit, size = ("GiB", GIB) if memory.total >= GIB else ("MiB", MIB)
    table = make_table("", "part", unit)
    for name in ("weights", "gradients", "optimizer", "activations", "logits"):
        table.add_row(name, f"{getattr(memory, name) / size:,.1f}")
    table.add_section()
    table.add_row("peak", f"{memory.total / size:,.1f}", style="bold")
    return table


def _list_work(estimate: Estimate) -> Table:
    epoch = estimate.epoch
    table = make_table("", "", "one epoch", f"{estimate.num_epochs:,.3g} epochs")
    for name, value in (("samples", epoch.samples), ("images", epoch.images), ("tokens", epoch.tokens)):
        table.add_row(name, _format(value), _format(value * estimate.num_epochs))
    table.add_row("tokens a sample", f"{epoch.tokens / epoch.samples:,.0f}", "")
    table.add_row("updates", "", f"{estimate.num_updates:,}")
    total = sum(estimate.flops.values())
    table.add_row("FLOPs", _format(total / estimate.num_epochs), _format(total), style="bold")
    for name, value in estimate.flops.items():
        table.add_row(f"  {name}", "", f"{value / total:.1%}", style="dim")
    return table


def _list_gpus(estimate: Estimate) -> Table:
    precision = estimate.settings.precision
    columns = (f"{precision}\nTFLOP/s", "usable\nGiB", "as\nset", "largest\nmicro batch", "time")
    table = make_table("", "GPU", *columns)
    for fit in estimate.fits:
        as_set = Text("fits", style="green") if fit.is_fitting else Text("too large", style="bold red")
        time = _format_hours(fit.hours) if fit.max_micro_batch else "-"
        sizes = (f"{fit.gpu.peaks[precision]:g}", f"{fit.gpu.memory_bytes / GIB:g}")
        table.add_row(fit.gpu.name, *sizes, as_set, f"{fit.max_micro_batch:,}" if fit.max_micro_batch else "none", time)
    return table


def _format_hours(hours: float) -> str:
    """`2.5 min`, `7.0 h` or `21 days`."""
    if hours < 1:
        return f"{hours * 60:,.1f} min" if hours * 60 >= 0.1 else "< 0.1 min"
    return f"{hours:,.1f} h" if hours < 3 * HOURS_OF_DAY else f"{hours / HOURS_OF_DAY:,.0f} days"


def _format(value: float) -> str:
    """`2,937`, `870.9 M` or `23.75 E`: a number below a million in full, another with four digits."""
    units = ("", " k", " M", " G", " T", " P", " E", " Z", " Y")
    power = 0
    while abs(value) >= 999.95 * 1000**power and power < len(units) - 1:
        power += 1
    return f"{value:,.0f}" if power < 2 else f"{value / 1000**power:.4g}{units[power]}"
