# Tollgate. `make` lists the targets; each works on a fresh clone with Go, Node and make.

SHELL := bash
MODULES := libs proto dashboards $(sort $(wildcard services/*)) deploy/tollgate integration
SERVICES := $(notdir $(sort $(wildcard services/*)))
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X github.com/tollgate/tollgate/libs/config.Version=$(VERSION)
TOOLS := $(CURDIR)/.tools
TESTFLAGS ?=

.DEFAULT_GOAL := help
.PHONY: help run build engines test test/race lint fmt proto verify bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z\/]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## Start the suite with the weather sample loaded (Ctrl-C stops it)
	bin/tollgate up --sample

build: engines ## Build bin/tollgate and a binary for each service
	go build -ldflags '$(LDFLAGS)' -o bin/tollgate ./deploy/tollgate
	for s in $(SERVICES); do go build -ldflags '$(LDFLAGS)' -o bin/$$s ./services/$$s/cmd/$$s || exit 1; done

engines: ## Install the database engines into .engines, once
	@scripts/engines.sh

test: engines ## Run all tests
	scripts/each.sh go test -timeout 20m $(TESTFLAGS) ./...

test/race: engines ## Run all tests with the race detector
	scripts/each.sh go test -race -timeout 60m $(TESTFLAGS) ./...

lint: $(TOOLS)/golangci-lint $(TOOLS)/buf ## Check style and borders
	scripts/each.sh $(TOOLS)/golangci-lint run --config $(CURDIR)/.golangci.yml ./...
	cd proto && $(TOOLS)/buf lint

fmt: ## Format the code
	gofmt -w $(MODULES)

proto: $(TOOLS)/buf $(TOOLS)/protoc-gen-go ## Generate Go from the protobuf files
	cd proto && PATH=$(TOOLS):$$PATH $(TOOLS)/buf generate

verify: proto ## Check that generated files, modules and formatting are as committed, and each service builds alone
	scripts/verify.sh

bench: engines ## Run the benchmarks
	scripts/each.sh go test -run '^$$' -bench . -benchmem $(TESTFLAGS) ./...

clean: ## Remove what was built; data and engines stay
	rm -rf bin .tmp

$(TOOLS)/golangci-lint: scripts/tools/lint/go.mod
	cd scripts/tools/lint && GOWORK=off go build -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(TOOLS)/buf: scripts/tools/proto/go.mod
	cd scripts/tools/proto && GOWORK=off go build -o $@ github.com/bufbuild/buf/cmd/buf

$(TOOLS)/protoc-gen-go: scripts/tools/proto/go.mod
	cd scripts/tools/proto && GOWORK=off go build -o $@ google.golang.org/protobuf/cmd/protoc-gen-go
