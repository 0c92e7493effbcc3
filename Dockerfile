# The image of the server, with both commands. Its steps are scripts, which scripts/check-image also runs without a
# container engine. Files are written below /var/lib/factstr only: the root file system may be read-only.
ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS build
WORKDIR /source
COPY deploy/image/install-libraries deploy/image/requirements.lock deploy/image/
RUN deploy/image/install-libraries /opt/factstr
COPY . .
RUN deploy/image/install-factstr /opt/factstr

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="FACTSTR" \
      org.opencontainers.image.description="An event store over gRPC" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY deploy/image/finish /tmp/finish
RUN /tmp/finish / && rm /tmp/finish
COPY --from=build /opt/factstr /opt/factstr
ENV PATH=/opt/factstr/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=2 \
    FACTSTR_STORE=sqlite:////var/lib/factstr/factstr.db \
    FACTSTR_LISTEN=0.0.0.0:50051 \
    FACTSTR_HEALTH_LISTEN=0.0.0.0:50052 \
    FACTSTR_METRICS_LISTEN=0.0.0.0:9464 \
    FACTSTR_LOG_FORMAT=json
WORKDIR /var/lib/factstr
VOLUME /var/lib/factstr
# Calls, health, metrics.
EXPOSE 50051 50052 9464
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["factstr-server", "health"]
ENTRYPOINT ["factstr-server"]
