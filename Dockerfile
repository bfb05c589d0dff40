# The images of orders, invoices and the bff: one builder compiles all of them, each target takes its own program.
#
#     docker build --target orders --tag tandem/orders .
#
# A program and its licences on a system without a shell: it runs as a user without rights, writes nothing (the root may
# be read-only), and looks after its own health. `migration` is in the images of the services that have a database, so
# that a schema and the build that needs it cannot be of two versions.

# That of rust-toolchain.toml; a check compares them. The file itself stays outside: it would have rustup fetch what only
# developers need.
ARG RUST_VERSION=1.95.0

# --- The builder -------------------------------------------------------------------------------------------------

FROM rust:${RUST_VERSION}-bookworm AS chef
# `auditable` writes the list of dependencies into the programs, for those who look for vulnerabilities in images.
RUN cargo install --locked cargo-chef@0.1.78 cargo-auditable@0.7.7
WORKDIR /tandem

FROM chef AS planner
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

# The dependencies are a layer of their own, which lasts until Cargo.lock changes. They are compiled again, to no use,
# if the packages or the profile here differ from those of the build below.
FROM chef AS builder
COPY --from=planner /tandem/recipe.json .
RUN cargo chef cook --release --locked --bins \
        --package orders --package invoices --package bff --package migration \
        --recipe-path recipe.json
COPY . .
RUN cargo auditable build --release --locked --bins \
        --package orders --package invoices --package bff --package migration

# --- What all images have ----------------------------------------------------------------------------------------

# glibc as in the builder, and the certificates of public authorities. By tag and not by digest, so that each build has
# the newest patches; what was built is deployed by its digest.
FROM gcr.io/distroless/cc-debian12:nonroot AS base
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/tandem/
# Everywhere: a container has nobody else on its network. Two arenas keep glibc from holding what a backlog needed.
ENV HOST=0.0.0.0 \
    MALLOC_ARENA_MAX=2
# As a number, so that orchestrators see that it is not root.
USER 65532:65532
STOPSIGNAL SIGTERM
ARG VERSION=0.0.0-local
ARG REVISION=unknown
ARG SOURCE=
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian12:nonroot"

# --- The images --------------------------------------------------------------------------------------------------

FROM base AS orders
LABEL org.opencontainers.image.title="Tandem orders" \
      org.opencontainers.image.description="Places and cancels orders, and follows what becomes of their invoices"
COPY --from=builder /tandem/target/release/orders /tandem/target/release/migration /usr/local/bin/
EXPOSE 3333 9464
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 CMD ["/usr/local/bin/orders", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/orders"]

FROM base AS invoices
LABEL org.opencontainers.image.title="Tandem invoices" \
      org.opencontainers.image.description="Issues an invoice for every order, takes payments, voids and refunds"
COPY --from=builder /tandem/target/release/invoices /tandem/target/release/migration /usr/local/bin/
EXPOSE 3334 9464
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 CMD ["/usr/local/bin/invoices", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/invoices"]

FROM base AS bff
LABEL org.opencontainers.image.title="Tandem bff" \
      org.opencontainers.image.description="Orders and invoices as one GraphQL API, with its console and playground"
COPY --from=builder /tandem/target/release/bff /usr/local/bin/
EXPOSE 4000 9464
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 CMD ["/usr/local/bin/bff", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/bff"]
