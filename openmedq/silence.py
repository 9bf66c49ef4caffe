"""Telemetry off, of every library, in one place. Imported first by the package, so that no process speaks unasked.

DVC's own switch is `core.analytics` in `.dvc/config`, which its command line reads before any of our code.
"""

import os

ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ITERATIVE_DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
    "WANDB_MODE": "disabled",
}


def silence() -> None:
    """Set the switches, over whatever the environment says: a medical pipeline does not call home."""
    os.environ.update(ENVIRONMENT)
