# The pipeline on a CPU, and the two servers: the environment of `make .venv`, and git.
# train.Dockerfile differs only in the settings of the driver; tests/test_docker.py compares them.
#
# The base is pinned by its tag. To pin its bytes as well, write python:3.11-slim-bookworm@sha256:..., in both stages,
# with the digest that `docker buildx imagetools inspect python:3.11-slim-bookworm` prints.

FROM python:3.11-slim-bookworm AS builder
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git make \
 && rm -rf /var/lib/apt/lists/*
# A virtual environment can't be moved: it is created at its final path.
WORKDIR /opt/openmedq
COPY Makefile requirements.lock ./
# Without an index of CPU wheels, pip installs torch's CUDA build. The Makefile and the lock define the versions.
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
WORKDIR /project
USER 1000:1000
ENTRYPOINT ["with-secrets"]
CMD ["python", "-m", "openmedq", "--help"]
