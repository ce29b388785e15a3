# syntax=docker/dockerfile:1
# One image per program:
#
#   docker build --target brainyd .            the data plane
#   docker build --target brainy-operator .    the operator
#   docker build --target brainy-s3 .          an S3 server for trying and testing
#
# `make image` builds all three. scripts/image.py makes images of the same form from programs that were built here.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock rustfmt.toml clippy.toml LICENSE ./
COPY .cargo .cargo
COPY bench bench
COPY conflict conflict
COPY coordination coordination
COPY crds crds
COPY dataplane dataplane
COPY embedded-s3 embedded-s3
COPY http-server http-server
COPY index index
COPY operator operator
COPY tests tests
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --locked --release --workspace --bin brainyd --bin brainy-operator --bin brainy-s3 \
    && mkdir /out \
    && for name in brainyd brainy-operator brainy-s3; do strip --strip-debug -o /out/$name target/release/$name; done

FROM gcr.io/distroless/cc-debian12:nonroot AS runtime
ARG VERSION=0.1.0
ARG REVISION=""
ARG SOURCE=""
LABEL org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.source=$SOURCE \
      org.opencontainers.image.licenses="Apache-2.0"
COPY LICENSE /usr/share/doc/brainy/LICENSE
USER 65532:65532

FROM runtime AS brainy-s3
LABEL org.opencontainers.image.title="Brainy: an S3 server for trying and testing"
COPY --from=build /out/brainy-s3 /usr/local/bin/brainy-s3
ENTRYPOINT ["/usr/local/bin/brainy-s3"]

FROM runtime AS brainy-operator
LABEL org.opencontainers.image.title="Brainy: the operator"
COPY --from=build /out/brainy-operator /usr/local/bin/brainy-operator
ENTRYPOINT ["/usr/local/bin/brainy-operator"]

FROM runtime AS brainyd
LABEL org.opencontainers.image.title="Brainy: the vector store"
COPY --from=build /out/brainyd /usr/local/bin/brainyd
ENTRYPOINT ["/usr/local/bin/brainyd"]
