# docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=1.2.3 .
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS=linux
ARG TARGETARCH
ARG VERSION=development
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -tags nodev -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /sseproxy ./cmd/sseproxy

# Certificates of public authorities, /tmp, and nothing else.
FROM gcr.io/distroless/static:nonroot
COPY LICENSE /
COPY --from=build /sseproxy /sseproxy
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["/sseproxy"]
CMD ["serve"]
