# The image of Ennakko: the command `ennakko`, by default its HTTP service. Python is pinned to the last digit, because a
# verdict names the environment it was made in: train, judge and serve in one image. docs/operate.md says how.
FROM python:3.11.14-slim-bookworm AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY requirements-run.lock ./
RUN python -m venv /opt/ennakko \
    && /opt/ennakko/bin/pip install --require-hashes --only-binary :all: -r requirements-run.lock

FROM python:3.11.14-slim-bookworm
LABEL org.opencontainers.image.title="Ennakko" \
      org.opencontainers.image.description="Estimates who needs which service, and refuses to do so unfairly"
# The one library that LightGBM's wheel leaves to the system. Debian withdraws old versions, so none is named.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/ennakko /var/cache/ennakko
COPY --from=builder /opt/ennakko /opt/ennakko
COPY ethics /app/ethics
COPY features /app/features
COPY models /app/models
COPY scoring /app/scoring
COPY serving /app/serving
RUN ["python", "-m", "compileall", "-q", "/app"]
# The root file system may be read-only: state goes to the home, compiled kernels to the cache, the rest to /tmp.
ENV PATH=/opt/ennakko/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    NUMBA_CACHE_DIR=/var/cache/ennakko \
    ENNAKKO_HOME=/var/lib/ennakko
WORKDIR /var/lib/ennakko
USER 10001:10001
EXPOSE 3000
STOPSIGNAL SIGTERM
# The first start compiles the kernels, which takes a minute or two; later ones find them in the cache.
HEALTHCHECK --interval=15s --timeout=5s --start-period=180s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:3000/readyz', timeout=4)"]
ENTRYPOINT ["python", "-m", "serving"]
CMD ["serve", "--city", "/city"]
