# The commands of this project. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help check fix test run bench image push demo-kubernetes soak clean

help: ## lists these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

check: ## format, lints, dependencies, docs, generated files, shell, charts; writes nothing
	@scripts/check

fix: ## puts right what of these a tool can put right
	@scripts/check fix

test: ## every test; ONLY=unit,sim chooses stages
	@scripts/test

run: ## three nodes here, 20,000 messages, and the leader killed in the middle
	@scripts/run

bench: ## beside RabbitMQ, NATS and Kafka, 90 minutes; ONLY=roadstead,nats RUNS=closed,one choose
	@scripts/bench

image: ## target/image/roadstead-VERSION.tar, without Docker
	@cargo build --workspace --bins
	@scripts/image

push: image ## pushes that image: make push REGISTRY=registry.example.com/team/roadstead
	@scripts/push "$(REGISTRY)"

demo-kubernetes: ## leaves a Kubernetes with Roadstead up, to play with by kubectl
	@scripts/demo-kubernetes

soak: ## the tests with more seeds, kills, histories and repeats, 45 minutes
	@scripts/test --soak

clean: ## removes what was built here; caches under ~/.cache stay
	@cargo clean
