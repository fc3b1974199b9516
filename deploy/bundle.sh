#!/usr/bin/env bash
# Makes of the binary a folder that runs on any Linux of its architecture, whatever C library that has: the binary, the
# libraries that it needs, and their loader.
#
#   deploy/bundle.sh BINARY OUT [PREFIX]
#
# PREFIX, /opt/catena by default, is where OUT's content has to lie in the end: an ELF file names its loader by an
# absolute path. The folder is named after its content, so that a new version never changes the files of one that runs:
# a worker starts its helpers from /proc/self/exe, and those need the loader and the libraries of their own version.
set -euo pipefail

if (($# < 2 || $# > 3)); then
  sed -n '5s/^# *//p' "$0" >&2
  exit 2
fi
binary=$1 out=$2 prefix=${3:-/opt/catena}
name=containerd-shim-catena-v1
root=$(cd "$(dirname "$0")/.." && pwd)
command -v patchelf > /dev/null || { echo "patchelf is missing: run make setup" >&2; exit 1; }

mkdir -p "$out"
work=$(mktemp -d "$out/.bundle-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bin" "$work/lib" "$work/licences"

# Without lines and symbols of the debugger; the names of functions stay, for backtraces.
strip --strip-debug -o "$work/bin/$name" "$binary"
ln -s "$name" "$work/bin/catena"

loader=$(patchelf --print-interpreter "$binary")
cp --dereference "$loader" "$work/lib/"
# "libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x..)"
ldd "$binary" | awk '$2 == "=>" { print $3 }' | while read -r library; do
  [[ -f $library ]] || { echo "a library of $binary is missing: $library" >&2; exit 1; }
  cp --dereference "$library" "$work/lib/"
done

cp "$root/LICENSE" "$work/licences/catena"
for package in libc6 libgcc-s1 libseccomp2; do
  notice=/usr/share/doc/$package/copyright
  [[ ! -e $notice ]] || cp --dereference "$notice" "$work/licences/$package"
done

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
content=$(cd "$work" && find bin lib -type f -print0 | LC_ALL=C sort --zero-terminated | xargs --null sha256sum | sha256sum)
id=$version-${content:0:12}

# DT_RPATH, not DT_RUNPATH: it also counts for what the libraries themselves need.
patchelf --set-interpreter "$prefix/$id/lib/$(basename "$loader")" --force-rpath --set-rpath "$prefix/$id/lib" \
  "$work/bin/$name"
chmod -R u+w,go+rX "$work"
chmod 755 "$work" "$work/bin/$name" "$work/lib/$(basename "$loader")"

(cd "$work" && find bin lib licences -type f | LC_ALL=C sort | xargs sha256sum) > "$work/SHA256SUMS"

rm -rf "${out:?}/$id"
mv "$work" "$out/$id"
echo "$id"
