#!/bin/sh
# Debian and npm packages for `make test-full`. Needs root; does nothing where they are installed.
set -e
missing=""
command -v chromium >/dev/null || missing="$missing chromium"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
command -v npm >/dev/null || missing="$missing nodejs npm"
command -v soffice >/dev/null || missing="$missing libreoffice-calc-nogui"
command -v strace >/dev/null || missing="$missing strace"
if [ -n "$missing" ]; then
  apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
fi
# axe-core and the HTML validator, for the report's pages; what is pinned in package-lock.json.
(cd "$(dirname "$0")/browser" && npm ci --ignore-scripts --no-audit --no-fund --silent)
