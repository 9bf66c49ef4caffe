"""Prefect flows: they walk DVC's graph and run its nodes, with retries, concurrency limits, logs and schedules.

DVC defines the graph, and `openmedq` defines what a stage does. Before Prefect is imported, this package disables
telemetry, enables CSRF protection, and excludes loopback from the proxies of the environment, for `flows.server` and
for the temporary server that Prefect starts for a flow.
"""

import os
import sys
from importlib.util import find_spec

import openmedq  # noqa: F401  disables telemetry before Prefect is imported
from openmedq.extras import describe_missing

os.environ["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] = "true"

# In memory, Prefect's default, leases are lost when the server restarts: slots that were occupied are then never free.
os.environ.setdefault("PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE", "prefect.server.concurrency.lease_storage.filesystem")

# Prefect waits 20 s for its temporary server; on a busy machine it takes longer to start.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")

_direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, (_direct, "127.0.0.1", "localhost", "::1")))

if find_spec("prefect") is None:
    sys.exit(f"error: {describe_missing(ModuleNotFoundError(name='prefect'), 'flows')}")
