# The server on CPUs, with a real model to serve: docker build -t yais . && docker run --rm -p 50051:50051 yais
FROM python:3.12-slim-bookworm AS wheels
WORKDIR /src
# No versions: bookworm's only change to be mended, and an image that is built again is to have that.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libnghttp2-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
COPY . .
RUN pip wheel --no-cache-dir --wheel-dir /wheels ".[build]"

FROM wheels AS engines
RUN pip install --no-cache-dir --no-index --find-links /wheels "$(echo /wheels/yais-*.whl)[build]" \
    && mkdir /engines \
    && engine-build efficientnet-lite0 -o /engines/efficientnet-lite0.onnx

FROM python:3.12-slim-bookworm
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libnghttp2-14 \
    && rm -rf /var/lib/apt/lists/*
# The wheels are mounted, not copied, so that no layer carries them; those of the build extra stay behind.
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels /wheels/yais-*.whl
COPY --from=engines /engines /opt/yais/engines
COPY deploy/docker/config.toml /opt/yais/

# A number, so that a kubelet sees that it is not root. It owns no file: the root file system can be read-only.
USER 10001:10001
# The engine above, at the lowest precedence: any --engine, YAIS_ENGINE or configuration of your own takes its place.
ENV YAIS_CONFIG=/opt/yais/config.toml
# ONNX Runtime's official builds report their use to Microsoft otherwise.
ENV ORT_DISABLE_TELEMETRY=1
EXPOSE 50051 50078
STOPSIGNAL SIGTERM
# Follows YAIS_METRICS; a port that is set in another way it cannot see. A first start on a GPU takes as long as its build.
HEALTHCHECK --interval=10s --timeout=5s --start-period=1800s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://localhost:{os.environ.get('YAIS_METRICS', 50078)}/v2/health/ready\", timeout=4)"]
# Process 1 is the server itself, so a stop reaches it and drains it.
ENTRYPOINT ["inference-grpc"]
