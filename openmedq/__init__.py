"""OpenMedQ: broad open pretraining for medical vision-language models, from published files to scores."""

import os

TELEMETRY_OFF = {  # DVC reads its own switch before this code runs: `core.analytics` in .dvc/config
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
# Set before any library is imported, whatever the environment holds: a medical pipeline sends no telemetry.
os.environ.update(TELEMETRY_OFF)

# OpenMP threads that spin while they wait slow down the processes that share their cores: torch was measured 20 times
# slower than on one thread. OpenMP reads the policy when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
