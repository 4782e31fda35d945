#!/bin/sh
# Prints the packages that have root tests (build tag "root"); make test runs them besides those of make check.
set -eu
root=$(git rev-parse --show-toplevel)
cd "$root"
dirs=$(grep -rlE --include='*_test.go' '^//go:build .*\broot\b' . | xargs -r -n1 dirname | sort -u)
[ -n "$dirs" ] || { echo "root-packages: no root tests found, which can't be" >&2; exit 1; }
echo "$dirs"
