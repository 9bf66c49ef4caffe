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

# OpenMP reads these when it is loaded. Threads that spin for long while they wait slow down the processes that share
# their cores (torch was measured 20 times slower than on one thread); threads that do not spin wake up slowly (training
# on two quiet cores took 1.8 times as long). GNU's OpenMP spins for a few microseconds.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
