# repro with its command line in an image: docker build -t repro . && docker run --rm repro list
# With CUDA: docker build --build-arg TORCH=pypi -t repro . && docker run --rm --gpus all repro doctor
# What is kept lies in /repro/results, /repro/reports and /repro/data: mount what should outlive the container.
FROM python:3.11-slim-bookworm

# Debian drops a version of a package when it mends it: a pin would end the build, not repeat it
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        build-essential git libopencv-dev libturbojpeg0-dev pkg-config \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 repro \
    && install -d -o repro -g repro /repro
USER 1000
WORKDIR /repro

# the packages are a layer of their own, made anew only when what it copies changes
COPY --chown=repro:repro pyproject.toml constraints.txt Makefile README.md LICENSE ./
COPY --chown=repro:repro scripts scripts
COPY --chown=repro:repro repro repro
ARG TORCH=cpu
RUN TORCH="$TORCH" make setup

COPY --chown=repro:repro . .
ENV PATH="/repro/.venv/bin:$PATH"
ENTRYPOINT ["repro"]
CMD ["--help"]
