# The recipes of the house. `just` alone lists them.

[private]
default:
    @just --list --unsorted

# Exactly what CI runs: format, lints, every test against real peers
check:
    ./test

# Unit tests and the rules of the house only
quick:
    ./test quick

# One test or a few, by name, in one suite: just only spec a_fresh_token
only suite *names:
    cargo test --test {{ suite }} {{ names }}

# Format everything
fmt:
    cargo fmt

# The lints CI denies
lint:
    cargo clippy --all-targets -- -D warnings

# Show the vault at work, with a platform of its own
demo:
    cargo run --release -- demo

# A vault to develop against
dev *args:
    cargo run -- dev {{ args }}

# Measure the vault against bare servers, side by side: some minutes, or less than one with --quick
bench *args:
    cargo bench --bench bench -- {{ args }}

# A million tokens: memory does not grow with an import of them, nor background work with how many there are: many minutes
million:
    VAULT_TEST_LINES=1000000 cargo test --release --test bulk ten_times_as_many_lines -- --nocapture
    VAULT_TEST_TOKENS=1000000 cargo test --release --test refresh of_however_many_tokens -- --nocapture

# Everything that can go wrong, done to real instances over real stores: hours; the short form is part of `check`
chaos *args:
    cargo test --test chaos -- --long {{ args }}

# The audit trail: ten million lines without a false alarm, a thousand kills without a token that has no line: hours
trail:
    VAULT_TEST_AUDIT_LINES=10000000 cargo test --release --lib an_intact_trail_never_raises -- --nocapture
    VAULT_TEST_KILLS=1000 cargo test --release --test process wherever_it_is_killed -- --nocapture

# Floods of HTTP/2 for a minute each, and ten thousand idle connections; the short form is part of `check`
floods:
    VAULT_TEST_FLOOD_SECONDS=60 VAULT_TEST_FLOOD_CONNECTIONS=16 VAULT_TEST_IDLE_CONNECTIONS=10000 cargo test --test floods -- --nocapture

# Ten minutes of inputs nobody would write for everything that reads; seconds of it are part of `check`
fuzz:
    VAULT_TEST_FUZZ_SECONDS=600 cargo test --test fuzz --test provider -- --nocapture read refused sealed whatever

# The documentation of the code, in a browser
docs:
    cargo doc --no-deps --document-private-items --open

# What the dependencies bring in
deps:
    cargo deny check bans licenses sources

# Remove what ./test installed
clean-peers:
    rm -rf .venv tests/peers/node_modules
