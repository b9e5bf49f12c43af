# docker build -t ict . && docker run --rm -v "$PWD/results:/ict/results" -v "$PWD/data:/ict/data" ict experiments/quickstart.yaml
#
# The packages come first, so that a changed source does not install them again. -march=native of the building machine would
# be wrong on another one: x86-64-v3 (AVX2) runs on any server of the last ten years.
FROM debian:12
WORKDIR /ict
COPY scripts/setup scripts/setup
RUN scripts/setup && rm -rf /var/lib/apt/lists/*
COPY . .
ENV ARCH=x86-64-v3
RUN make
ENTRYPOINT ["./run"]
