# One image for every process of the house; compose says which one runs.
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PEMS_HOME=/pems OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_CACHE_DIR=/tmp/numba \
    MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /app

# dependencies change seldom, code often: two layers
COPY requirements.lock ./
RUN python -m venv /venv \
 && /venv/bin/pip install -q 'uv>=0.8' \
 && /venv/bin/uv pip install -q --python /venv/bin/python --no-cache --require-hashes -r requirements.lock
ENV PATH=/venv/bin:$PATH

COPY contracts contracts
COPY chassis chassis
COPY services services
COPY twin twin
COPY pems pems
COPY deploy deploy
ENV PYTHONPATH=/app

RUN useradd --uid 10001 --create-home pems && mkdir -p /pems && chown pems:pems /pems
USER pems
STOPSIGNAL SIGTERM
CMD ["python", "-m", "pems", "--help"]
