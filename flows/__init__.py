"""Prefect's side: walks DVC's graph and runs the same commands, with retries, slots, logs and a clock.

No edge and no logic of the pipeline stands here; what a stage does is `openmedq`'s business. Telemetry is switched
off before Prefect is imported anywhere below, and CSRF protection on: for `flows.server`, and for the temporary server
that Prefect starts for a flow where no other is named.
"""

import os
import sys
from importlib.util import find_spec

import openmedq  # noqa: F401  telemetry off before Prefect is imported
from openmedq.extras import describe_missing

os.environ["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] = "true"

if find_spec("prefect") is None:
    sys.exit(f"error: {describe_missing(ModuleNotFoundError(name='prefect'), 'flows')}")
