# The image for people who build with Docker; `make image` writes the same without it.
#   cargo build --workspace --bins
#   docker build -t roadstead .
# The binaries are prebuilt, so BASE must have the C library of the system that built them:
# docker build --build-arg BASE=ubuntu:24.04 . on Ubuntu 24.04.
ARG BASE=debian:bookworm-slim
FROM ${BASE} AS closure
COPY target/debug/roadstead-node target/debug/roadstead-operator target/debug/roadstead \
     /image/usr/local/bin/
RUN set -eu; cd /image; \
    if grep -l ROADSTEAD_WITHOUT usr/local/bin/*; then \
      echo "built for control runs; build what is shipped: cargo build --workspace --bins"; exit 1; \
    fi; \
    ldd usr/local/bin/* | grep -o '/[^ ]*' | grep -v : | sort -u | while read -r lib; do \
      install -D "$lib" "/image$lib"; \
    done; \
    mkdir -p etc; install -d -m 1777 tmp; \
    printf 'root:x:0:0:root:/:/sbin/nologin\n' >etc/passwd; \
    printf 'roadstead:x:65532:65532:roadstead:/tmp:/sbin/nologin\n' >>etc/passwd; \
    printf 'root:x:0:\nroadstead:x:65532:\n' >etc/group; \
    printf 'passwd: files\ngroup: files\nhosts: files dns\n' >etc/nsswitch.conf

FROM scratch
COPY --from=closure /image /
ENV PATH=/usr/local/bin
USER 65532
