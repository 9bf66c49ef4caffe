"""A `Log` that keeps what a stage logs."""

from collections.abc import Mapping, Sequence

from openmedq.storage.progress import Answers


class Recorded:
    """The last value of each metric, all values by step, the tables and the answers."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.steps: list[tuple[int | None, dict[str, float]]] = []
        self.checkpoints: list[str] = []
        self.tables: dict[str, list[dict[str, object]]] = {}
        self.answered: Answers | None = None
        self.description = ""

    def __call__(self, metrics: Mapping[str, float], step: int | None) -> None:
        self.metrics.update(metrics)
        self.steps.append((step, dict(metrics)))

    def read(self, name: str) -> list[float]:
        return [metrics[name] for _, metrics in self.steps if name in metrics]

    def checkpoint(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        self.checkpoints.append(name)

    def table(self, name: str, rows: Sequence[Mapping[str, object]]) -> None:
        self.tables[name] = [dict(row) for row in rows]

    def describe(self, text: str) -> None:
        self.description = text

    def answers(self, answers: Answers) -> None:
        self.answered = answers
