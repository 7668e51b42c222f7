# caffecompat on a CPU, or on NVIDIA's cards with `docker run --gpus all`.
#
#   docker build -t caffecompat .
#   docker run --rm -it -u "$(id -u):$(id -g)" -v "$PWD:/work" caffecompat train --solver solver.prototxt
FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist .

FROM python:3.12-slim
COPY --from=build /dist /dist
RUN pip install --no-cache-dir "$(echo /dist/*.whl)[all]" && rm -r /dist
# A user without a home folder, as `docker run -u` makes one, has its caches here.
ENV HOME=/tmp
WORKDIR /work
ENTRYPOINT ["caffecompat"]
CMD ["--help"]
