# docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=1.2.3 --build-arg COMMIT=$(git rev-parse HEAD) .
# With --build-arg GOFIPS140=certified the program has the certified version of Go's FIPS 140-3 module, and runs in FIPS mode.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS=linux
ARG TARGETARCH
ARG VERSION=development
ARG COMMIT
ARG GOFIPS140=off
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH GOFIPS140=$GOFIPS140 \
    go build -tags nodev -trimpath -ldflags "-s -w -X main.version=$VERSION -X main.commit=$COMMIT" -o /sseproxy ./cmd/sseproxy

# Certificates of public authorities, /tmp, and nothing else: no shell. The root may be read-only.
FROM gcr.io/distroless/static:nonroot
COPY LICENSE /
COPY --from=build /sseproxy /sseproxy
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["/sseproxy"]
CMD ["serve"]
