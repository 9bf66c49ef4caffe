"""Prefect flows: they walk DVC's graph and run its nodes, with retries, concurrency limits, logs and schedules.

DVC defines the graph, and `openmedq` defines what a stage does. Before Prefect is imported, this package disables
telemetry and enables CSRF protection, for `flows.server` and for the temporary server that Prefect starts for a flow.
"""

import os
import sys
from importlib.util import find_spec

import openmedq  # noqa: F401  disables telemetry before Prefect is imported
from openmedq.extras import describe_missing

os.environ["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] = "true"

if find_spec("prefect") is None:
    sys.exit(f"error: {describe_missing(ModuleNotFoundError(name='prefect'), 'flows')}")
