# Training on an NVIDIA GPU: the environment of `make .venv`, whose torch includes CUDA's libraries, and git. The base
# image needs no CUDA: NVIDIA's container toolkit provides the host's driver.
# Otherwise the same as pipeline.Dockerfile, which documents how to pin the base image; a test compares them.

FROM python:3.11-slim-bookworm AS builder
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git make \
 && rm -rf /var/lib/apt/lists/*
# A virtual environment can't be moved: it is created at its final path.
WORKDIR /opt/openmedq
COPY Makefile requirements.lock ./
# The index of another CUDA version; default: torch's CUDA build of PyPI. The Makefile and the lock define the versions.
ARG TORCH_INDEX=""
RUN PIP_EXTRA_INDEX_URL="$TORCH_INDEX" PIP_NO_CACHE_DIR=1 make .venv

FROM python:3.11-slim-bookworm
# DVC and MLflow use git; the mounted checkout belongs to another user.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git \
 && rm -rf /var/lib/apt/lists/* \
 && git config --system --add safe.directory /project \
 && useradd --uid 1000 --home-dir /home/openmedq --no-create-home openmedq \
 && install --directory --owner=1000 --group=1000 --mode=1777 \
      /project /home/openmedq /var/cache/openmedq /var/lib/openmedq
COPY --from=builder /opt/openmedq/.venv /opt/openmedq/.venv
COPY --chmod=755 docker/with-secrets.sh /usr/local/bin/with-secrets
# Works for any user id (compose.yaml sets the checkout's), without an entry in /etc/passwd.
ENV PATH=/opt/openmedq/.venv/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/home/openmedq \
    USER=openmedq \
    LOGNAME=openmedq \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# Writable paths besides the checkout: caches, in a volume. The rest of the image is read-only.
ENV XDG_CACHE_HOME=/var/cache/openmedq \
    DVC_SITE_CACHE_DIR=/var/cache/openmedq/dvc \
    HF_HOME=/var/cache/openmedq/huggingface \
    MPLCONFIGDIR=/var/cache/openmedq/matplotlib
# Telemetry off also before our code is imported; the same variables as in openmedq/__init__.py.
ENV DO_NOT_TRACK=1 \
    GX_ANALYTICS_ENABLED=false \
    HF_HUB_DISABLE_TELEMETRY=1 \
    ITERATIVE_DO_NOT_TRACK=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    NO_ALBUMENTATIONS_UPDATE=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    STREAMLIT_BROWSER_GATHER_USAGE_STATS=false \
    WANDB_MODE=disabled
# For the container toolkit: all GPUs of the container, for computing and nvidia-smi.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /project
USER 1000:1000
ENTRYPOINT ["with-secrets"]
CMD ["python", "-m", "openmedq", "--help"]
