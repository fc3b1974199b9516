#!/usr/bin/env bash
# Lints what deploy/ holds: its scripts, its YAML, and its chart with Helm's own code.
set -euo pipefail
cd "$(dirname "$0")/../.."

[[ -e target/deploy-tools/installed ]] || { echo "the tools are missing: run make setup" >&2; exit 1; }
shellcheck deploy/bundle.sh deploy/installer/*.sh test/scripts/lint-deploy.sh
for shell in "busybox sh" dash; do
  $shell -n deploy/installer/install.sh
done
yamllint --strict deploy .yamllint.yaml
target/deploy-tools/bin/python test/scripts/chart.py
