# The sidecar: one static binary and the certificates of public authorities. No
# shell, no tools, nothing to fork.
#
# There is no default for the build image: a tag would be the very thing that
# this project exists to end. Name one by digest, from your mirror or the public
# library:
#
#   docker build --build-arg GO_IMAGE=golang:1.26.8-bookworm@sha256:… .
ARG GO_IMAGE
FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY build ./build
COPY cmd ./cmd
COPY internal ./internal
COPY render ./render
COPY rewrite ./rewrite
COPY verify ./verify
ENV CGO_ENABLED=0
RUN go build -trimpath -buildvcs=false -ldflags="-s -w" -o /out/pin-cmp ./cmd/pin-cmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/pin-cmp /usr/local/bin/pin-cmp
COPY plugin.yaml /home/argocd/cmp-server/config/plugin.yaml
# Argo CD's own user: the repo-server must be able to write to the plugin's
# socket. HOME is where the answers of registries are kept: mount an emptyDir.
USER 999:999
ENV HOME=/tmp PATH=/usr/local/bin
ENTRYPOINT ["/usr/local/bin/pin-cmp"]
