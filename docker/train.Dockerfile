# Training on an NVIDIA GPU: the environment of `make .venv`, whose torch brings CUDA's libraries with it, and git. The
# base needs no CUDA: the host gives the driver, through NVIDIA's container toolkit.
# Else the same as pipeline.Dockerfile, which also says how to pin the base's bytes; tests/test_docker.py holds the two
# together.

FROM python:3.11-slim-bookworm AS builder
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git make \
 && rm -rf /var/lib/apt/lists/*
# A virtual environment can't be moved: it is made where it will be.
WORKDIR /opt/openmedq
COPY Makefile requirements.lock ./
# pip takes torch's CUDA build; name an index of another CUDA here. The version and the lock are the Makefile's.
ARG TORCH_INDEX=""
RUN PIP_EXTRA_INDEX_URL="$TORCH_INDEX" PIP_NO_CACHE_DIR=1 make .venv

FROM python:3.11-slim-bookworm
# DVC and MLflow ask git; the checkout is mounted, and belongs to whoever cloned it.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git \
 && rm -rf /var/lib/apt/lists/* \
 && git config --system --add safe.directory /project \
 && useradd --uid 1000 --home-dir /home/openmedq --no-create-home openmedq \
 && install --directory --owner=1000 --group=1000 --mode=1777 \
      /project /home/openmedq /var/cache/openmedq /var/lib/openmedq
COPY --from=builder /opt/openmedq/.venv /opt/openmedq/.venv
COPY --chmod=755 docker/with-secrets.sh /usr/local/bin/with-secrets
# Any user id will do (compose.yaml gives that of the checkout), so nothing below asks /etc/passwd.
ENV PATH=/opt/openmedq/.venv/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/home/openmedq \
    USER=openmedq \
    LOGNAME=openmedq \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# What may be written beside the checkout: caches, in a volume. The rest of the image is read-only.
ENV XDG_CACHE_HOME=/var/cache/openmedq \
    DVC_SITE_CACHE_DIR=/var/cache/openmedq/dvc \
    HF_HOME=/var/cache/openmedq/huggingface \
    MPLCONFIGDIR=/var/cache/openmedq/matplotlib
# Telemetry off before any code of ours is imported: openmedq/__init__.py, word for word.
ENV DO_NOT_TRACK=1 \
    GX_ANALYTICS_ENABLED=false \
    HF_HUB_DISABLE_TELEMETRY=1 \
    ITERATIVE_DO_NOT_TRACK=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    NO_ALBUMENTATIONS_UPDATE=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    STREAMLIT_BROWSER_GATHER_USAGE_STATS=false \
    WANDB_MODE=disabled
# What the container toolkit puts in: every GPU that the engine hands over, for computing and for nvidia-smi.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /project
USER 1000:1000
ENTRYPOINT ["with-secrets"]
CMD ["python", "-m", "openmedq", "--help"]
