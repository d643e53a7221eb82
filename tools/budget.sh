#!/bin/sh
# Counts the instructions of mm's paths in a release build, and compares with mm/budget.txt; with BUDGET=renew in the
# environment, writes them there. SKIP_INSTRUCTION_BUDGET=1 leaves this out.
set -eu
cd "$(dirname "$0")/.."

exec cargo run --quiet --release -p bench --no-default-features --example budget
