# Build:  docker build -t gatewayproxy .
# Run:    docker run --rm -p 80:80 -p 443:443 -v ./manifests:/etc/gatewayproxy:ro gatewayproxy
# docs/container.md: behind a load balancer, reload, what a platform must allow.
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml README.md ./
COPY gatewayproxy gatewayproxy
# The environment has no pip of its own; that of the base image cannot write to it.
RUN python3 -m venv --without-pip /opt/gatewayproxy \
 && python3 -m pip --python /opt/gatewayproxy/bin/python install --no-cache-dir --disable-pip-version-check . \
 && /opt/gatewayproxy/bin/python -m compileall -q /opt/gatewayproxy/lib

FROM ${BASE}
COPY --from=build /opt/gatewayproxy /opt/gatewayproxy
ENV PATH=/opt/gatewayproxy/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
# A number, so that a platform can see that it is not root; it needs no entry in /etc/passwd.
USER 65532:65532
WORKDIR /etc/gatewayproxy
EXPOSE 80 443
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9901/healthz', timeout=2)"]
ENTRYPOINT ["gatewayproxy"]
CMD ["run", "/etc/gatewayproxy", "--access-log", "-"]
