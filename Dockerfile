# syntax=docker/dockerfile:1
# Two stages: the first installs with hashes required, the second has neither pip's cache nor a compiler.

# scripts/release.sh prints the arguments that label an image with its version, commit and the commit's time.
# The newest patches of this Python and of Debian. scripts/pin-images.py pins it by digest, and renews the pin.
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS build
# Or tracing: the service with OpenTelemetry, for TRACING_ENABLED.
ARG LOCK=serve
WORKDIR /build
COPY locks/${LOCK}.txt locks/build.txt locks/
RUN python -m venv /opt/kms-service \
    && /opt/kms-service/bin/pip install --no-cache-dir --no-deps --require-hashes -r locks/${LOCK}.txt \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --no-deps --require-hashes -r locks/build.txt
COPY pyproject.toml README.md LICENSE alembic.ini ./
COPY src src
COPY migrations migrations
RUN /opt/build/bin/python -m hatchling build -t wheel -d dist \
    && /opt/kms-service/bin/pip install --no-cache-dir --no-deps --no-index dist/*.whl

FROM build AS build-local
COPY locks/local.txt locks/
RUN /opt/kms-service/bin/pip install --no-cache-dir --no-deps --require-hashes -r locks/local.txt

# The KMS stand-in of docker-compose.yml: never part of the service's image.
FROM ${BASE} AS kms-stand-in
COPY --from=build-local /opt/kms-service /opt/kms-service
RUN install -d -o 10001 -g 10001 -m 700 /data
USER 10001:10001
WORKDIR /tmp
ENV PATH=/opt/kms-service/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
EXPOSE 4566
ARG VERSION=unreleased
ARG REVISION=unknown
ARG CREATED=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="kms-service stand-in" \
      org.opencontainers.image.description="A stand-in for AWS KMS, for laptops and tests" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"
ENTRYPOINT ["python", "-I", "-m", "kms_service.local.kms.server"]
CMD ["--keys", "/data/keys.json", "--host", "0.0.0.0", "--port", "4566"]

FROM ${BASE} AS service
COPY --from=build /opt/kms-service /opt/kms-service
# A number, so that Kubernetes' runAsNonRoot can see that it is not root.
USER 10001:10001
WORKDIR /tmp
ENV PATH=/opt/kms-service/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=3001 \
    LOG_FORMAT=json
EXPOSE 3001
# Here, after the costly steps: other labels do not rebuild those.
ARG VERSION=unreleased
ARG REVISION=unknown
ARG CREATED=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="kms-service" \
      org.opencontainers.image.description="Custody of Ethereum wallets in front of AWS KMS and PostgreSQL" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['PORT']}/livez\", timeout=2)"]
ENTRYPOINT ["kms-service"]
CMD ["serve"]
