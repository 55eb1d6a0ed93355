# packages: everything pip installs.  train: with the training code.  slim: less what no request reaches.  app: our code.
# root: the base image less shell, package manager, Perl and setuid bits.  The last stage, the image that is served, is
# root, slim and app: it has no shell, no pip, no compiler and no training code.
# CUDA: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130
# To pin the base by digest: --build-arg PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:… (docker buildx imagetools inspect)

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM $PYTHON_IMAGE AS packages
ARG TORCH_VERSION=2.13.0
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Each index, Python and processor has a file of its own; with its sha256 named here, no other is accepted.
ARG TORCH_SHA256=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/ritmo
ENV PATH=/opt/ritmo/bin:$PATH
# The suffix (+cpu) names the build, so that no other index can answer with several gigabytes of CUDA instead.
RUN echo "torch==$TORCH_VERSION+${TORCH_INDEX##*/}${TORCH_SHA256:+ --hash=sha256:$TORCH_SHA256}" > /tmp/torch.txt \
    && pip install --no-deps --retries 1 --timeout 30 --index-url "$TORCH_INDEX" --requirement /tmp/torch.txt
WORKDIR /app
COPY pyproject.toml constraints.txt requirements.txt ./
RUN pip install --no-deps --require-hashes --requirement requirements.txt
# A CUDA build of torch needs NVIDIA's packages, in the releases that it names; the CPU build needs nothing more.
RUN [ "${TORCH_INDEX##*/}" = cpu ] || pip install --constraint constraints.txt "torch==$TORCH_VERSION+${TORCH_INDEX##*/}"
RUN pip check

FROM packages AS train
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['train'], sep='\n')" \
        > /tmp/requirements.txt \
    && pip install --constraint constraints.txt --requirement /tmp/requirements.txt
COPY service service
COPY training training
RUN mkdir data runs && chmod -R a+rX /app && chmod 1777 data runs
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 MPLCONFIGDIR=/tmp/matplotlib
ENTRYPOINT ["python", "-m", "training"]

# What no request reaches: torch's headers and tools, symbol tables, test suites, pip. 370 MB of 1,020 MB.
FROM packages AS slim
RUN apt-get update && apt-get install --yes --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
RUN cd /opt/ritmo/lib/python3.11/site-packages \
    && strip --strip-unneeded torch/lib/libtorch_cpu.so torch/lib/libtorch_python.so \
    && rm -rf torch/include torch/share torch/test torch/lib/*_test.so \
    && find torch/bin -type f -not -name torch_shm_manager -delete \
    && find . -type d -name tests -not -path './torch/*' -prune -exec rm -rf {} + \
    && pip uninstall --yes setuptools pip \
    && python -c 'import torch; torch.nn.LSTM(1, 8)(torch.zeros(1, 3, 1))'

# The official image has Python's headers; one that has Debian's Python gets them from there.
FROM packages AS app
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && { test -e "$(python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" \
        || apt-get install --yes --no-install-recommends libpython3-dev; } \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml setup.py README.md LICENSE ./
COPY service service
RUN pip install --no-deps --no-build-isolation --no-index --target /app .
COPY models /app/models
RUN rm -f /app/pyproject.toml /app/constraints.txt /app/requirements.txt && chmod -R a+rX,go-w /app

# The list of Debian's packages stays, for scanners. The shell goes last, since it runs this.
FROM $PYTHON_IMAGE AS root
RUN find / -xdev -perm /6000 -type f -exec chmod a-s {} + \
    && rm -rf /usr/local/lib/python3*/*-packages/* /usr/local/bin/pip* /usr/lib/python3/dist-packages/* /usr/bin/pip* \
        /usr/share/perl* /usr/lib/*/perl* /usr/bin/perl* /usr/bin/apt* /usr/lib/apt /var/lib/apt /var/cache/apt /etc/apt \
        /usr/bin/dpkg* /usr/lib/dpkg /var/lib/dpkg/info /usr/share/doc /usr/share/man ~/.cache /etc/pip* \
    && rm -f /usr/bin/bash /usr/bin/rbash /usr/bin/dash /usr/bin/sh

FROM scratch
LABEL org.opencontainers.image.title="ritmo" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=root / /
COPY --from=slim /opt/ritmo /opt/ritmo
COPY --from=app /app /app
WORKDIR /app
# PYTHONDONTWRITEBYTECODE: the file system may be read-only, and everything is compiled already.
ENV PATH=/app/bin:/opt/ritmo/bin:/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8
ENV PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
ENV RITMO_HOST=0.0.0.0 RITMO_PORT=8000 RITMO_MANAGEMENT_PORT=8001
USER 10001:10001
EXPOSE 8000 8001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=300s --start-interval=1s --retries=3 \
    CMD ["python", "-ISc", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['RITMO_MANAGEMENT_PORT']}/readyz\", timeout=2)"]
ENTRYPOINT ["ritmo"]
CMD ["serve"]
