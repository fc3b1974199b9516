#!/usr/bin/env bash
# Builds the guests in JavaScript and Python into target/guests. The tools have fixed versions and are installed once;
# what is built already from the same sources is left alone.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
guests=$root/target/guests
tools=$root/target/tools

componentize_py=0.25.1
spin_sdk=5.0.0

# Whether $1 was last made from what the files $2... hold; notes that it is, once it is made.
same() { [[ -e $1 && $(cat "$1.made" 2> /dev/null) == "$(sum "${@:2}")" ]]; }
made() { sum "${@:2}" > "$1.made"; }
sum() { cat "$@" | sha256sum; }

javascript() {
  local here=$root/test/guests/js modules=$tools/js
  local inputs=("$here"/*.js* "$here"/build.mjs "$here"/spin/*.wit "$here"/wit/*.wit "$here"/wit/deps/*.wit)
  if same "$guests/js/hello.wasm" "${inputs[@]}" && same "$guests/js/spin.wasm" "${inputs[@]}" &&
    same "$guests/js/spin-2024.wasm" "${inputs[@]}"; then
    return
  fi
  echo "building the guests in JavaScript"
  mkdir -p "$modules" "$guests/js"
  cp -r "$here"/. "$modules"
  cd "$modules"
  # The scripts of these packages only fetch what is not used here.
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
  node build.mjs "$guests/js/hello.wasm"
  node node_modules/esbuild/bin/esbuild spin.js --bundle --format=esm --external:fermyon:* \
    --log-level=warning --outfile=bundled.js
  # One source by Spin's build tools and by those of 2024, whose world is all that Spin had then. The former say what
  # went wrong, but exit with 0.
  rm -f "$guests/js/spin.wasm" bundled.js.buildData.json
  node node_modules/@spinframework/build-tools/dist/index.js -i bundled.js -o "$guests/js/spin.wasm"
  test -s "$guests/js/spin.wasm"
  node node_modules/@fermyon/spin-sdk/bin/j2w.mjs -i bundled.js -o "$guests/js/spin-2024.wasm" --trigger-type spin-http
  made "$guests/js/hello.wasm" "${inputs[@]}"
  made "$guests/js/spin.wasm" "${inputs[@]}"
  made "$guests/js/spin-2024.wasm" "${inputs[@]}"
}

python() {
  local here=$root/test/guests/python
  local inputs=("$here"/*.py "$root/test/scripts/languages.sh")
  if same "$guests/python/hello.wasm" "${inputs[@]}" && same "$guests/python/spin.wasm" "${inputs[@]}"; then
    return
  fi
  echo "building the guests in Python"
  mkdir -p "$guests/python"
  if ! [[ -x $tools/python/bin/componentize-py ]]; then
    /usr/bin/python3 -m venv "$tools/python"
    "$tools/python/bin/python3" -m pip install --quiet --disable-pip-version-check \
      "componentize-py==$componentize_py" "spin-sdk==$spin_sdk"
  fi
  # componentize-py finds the SDK by the environment that is active.
  export VIRTUAL_ENV=$tools/python PYTHONDONTWRITEBYTECODE=1
  cd "$here"
  # Not by its first line, which names the folder where it was installed.
  local build=("$tools/python/bin/python3" "$tools/python/bin/componentize-py" --quiet --world spin:up/http-trigger@4.1.0 componentize)
  # No more than wasi:http; and all that Spin has, used or not.
  "${build[@]}" hello --intersect-world wasi:http/service@0.3.0 --output "$guests/python/hello.wasm"
  "${build[@]}" spin --output "$guests/python/spin.wasm"
  made "$guests/python/hello.wasm" "${inputs[@]}"
  made "$guests/python/spin.wasm" "${inputs[@]}"
}

(javascript)
(python)
