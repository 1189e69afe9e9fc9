# vLLM on GPUs behind our server, with an export of `labelspace export --to vllm`.
#   docker build -f docker/vllm.Dockerfile -t labelspace-vllm .
#   docker run --gpus all --ipc host -p 127.0.0.1:8000:8000 -e LABELSPACE_SERVE_KEY -v "$PWD/export:/model:ro" labelspace-vllm
# More for vLLM, such as several GPUs: append /model --vllm-argument=--tensor-parallel-size=2
FROM vllm/vllm-openai:v0.32.0

WORKDIR /src
COPY . .
# Not [vllm]: it is here, with the torch that it was built for; our pins are not those of the image.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ".[serve]" \
    && rm -rf /src/* \
    && useradd --create-home --uid 10001 server

USER 10001
WORKDIR /home/server
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=900s \
    CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["labelspace", "serve", "--engine", "vllm", "--host", "0.0.0.0", "--port", "8000"]
CMD ["/model"]
