"""System metrics of the machine, measured by MLflow's monitors: load and memory of the CPU and of the GPUs.

MLflow's own thread is not used: it ends at the first error of the store. The names have no host and no user.
"""

import contextlib
import re
from collections import defaultdict
from statistics import mean
from typing import Any

_SHOWN = re.compile(r"(cpu_utilization|system_memory_usage|gpu_\d+_utilization|gpu_\d+_memory_usage)_percentage")


class SystemMonitor:
    """MLflow's monitors of CPU and, with a driver and the package nvidia-ml-py, of GPUs."""

    def __init__(self) -> None:
        """Start to measure the load of the CPU."""
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

        self._monitors: list[Any] = [CPUMonitor()]
        with contextlib.suppress(Exception):  # as MLflow does: no GPU, no driver, no nvidia-ml-py
            self._monitors.append(GPUMonitor())
        self.measure()

    def measure(self) -> dict[str, float]:
        """Return percentages by name: the load since the last call, the memory now; of GPUs the mean."""
        values = defaultdict(list)
        for monitor in self._monitors:
            monitor.collect_metrics()
            for name, value in monitor.aggregate_metrics().items():
                if _SHOWN.fullmatch(name):
                    values[re.sub(r"gpu_\d+_", "gpu_", name)].append(value)
            monitor.clear_metrics()
        return {f"system/{name}": mean(of_devices) for name, of_devices in values.items()}
