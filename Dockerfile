# Two images from one set of layers: `api` (serve, migrate, index, key, …) and `encoder`, which is
# the same with torch and the model on top. `docker build --target api .`
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS runtime
ENV PATH=/opt/citestream/bin:$PATH \
    PYTHONPATH=/opt/citestream/src \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    HOME=/tmp \
    CITESTREAM_DATA=/tmp/citestream \
    CITESTREAM_HOST=0.0.0.0
WORKDIR /opt/citestream
COPY pyproject.toml constraints.txt ./
# Packages by their list alone: a change of code makes none of these layers anew.
RUN python3 -m venv /opt/citestream \
 && python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" >api.txt \
 && python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['encoder'], sep='\n')" >encoder.txt \
 && python -m pip install -r api.txt -c constraints.txt
COPY deploy/compose/citestream /usr/local/bin/citestream
EXPOSE 8000
ENTRYPOINT ["citestream"]

FROM runtime AS api
COPY app ./src/app
COPY migrations ./src/migrations
RUN python -m compileall -q src
USER 10001:10001
CMD ["serve"]

FROM runtime AS encoder-packages
ARG TORCH=2.13.0
# cpu, or what uv takes for --torch-backend: cu128, auto, …
ARG TORCH_BACKEND=cpu
# PyPI's build for Linux is NVIDIA's, with gigabytes of libraries; uv knows where the others are.
RUN python -m pip install "torch==$TORCH+$TORCH_BACKEND" -c constraints.txt \
 || { python -m pip install --target /tmp/uv uv -c constraints.txt \
   && /tmp/uv/bin/uv pip install --no-cache --python /opt/citestream/bin/python \
      -c constraints.txt --torch-backend="$TORCH_BACKEND" "torch==$TORCH" \
   && rm -rf /tmp/uv; }
RUN python -m pip install -r encoder.txt -c constraints.txt

FROM encoder-packages AS encoder
COPY app ./src/app
# Exported once, here: a container that starts has it, and a file system that it cannot write to.
RUN python -m compileall -q src \
 && python -c "from app.encoder.loading import load_backend as load; load('sentence-transformers/all-MiniLM-L6-v2', 'cpu', 0, 'onnx', '/opt/citestream/models')" \
 && chmod -R a+rX models && rm -rf /tmp/*
USER 10001:10001
EXPOSE 8765
CMD ["encoder", "--host", "0.0.0.0", "--port", "8765", "--cache", "/opt/citestream/models"]
