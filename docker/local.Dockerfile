# The embedded server with a model of `labelspace train` or `labelspace export --to onnx`: no torch.
#   docker build -f docker/local.Dockerfile -t labelspace .
#   docker run -p 127.0.0.1:8000:8000 -e LABELSPACE_SERVE_KEY -v "$PWD/model:/model:ro" labelspace
# For a head on a language model: --build-arg EXTRAS=serve,finetune ; for a sentence-transformers encoder: serve,embed
FROM python:3.12-slim

ARG EXTRAS=serve,onnx
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir -c tests/constraints.txt ".[${EXTRAS}]" \
    && rm -rf /src/* \
    && useradd --create-home --uid 10001 server

USER 10001
WORKDIR /home/server
EXPOSE 8000
# The server finishes what it accepted when it gets this.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
# It listens to all addresses of the container, and so wants a key: LABELSPACE_SERVE_KEY.
ENTRYPOINT ["labelspace", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["/model"]
