#!/usr/bin/env bash
# Builds the installer's image without docker: busybox, the bundle and install.sh in one layer of an OCI archive, the
# same bytes from the same content.
#
#   deploy/installer/image.sh BUNDLE OUT.tar [NAME]
#
# BUNDLE is the folder that bundle.sh wrote. NAME, localhost/catena-installer:<version> by default, is what `ctr images
# import` calls it; `skopeo copy oci-archive:OUT.tar docker://..` pushes it.
set -euo pipefail

if (($# < 2 || $# > 3)); then
  sed -n '5s/^# *//p' "$0" >&2
  exit 2
fi
bundle=$1 out=$2
here=$(cd "$(dirname "$0")" && pwd)
busybox=$(command -v busybox) || { echo "busybox is missing: run make setup" >&2; exit 1; }
if ldd "$busybox" > /dev/null 2>&1; then
  echo "$busybox needs libraries: install busybox-static" >&2
  exit 1
fi
binary=$(echo "$bundle"/*/bin/containerd-shim-catena-v1)
[[ -f $binary ]] || { echo "there has to be one version in $bundle" >&2; exit 1; }
id=$(basename "$(dirname "$(dirname "$binary")")")
name=${3:-localhost/catena-installer:${id%-*}}
# EM_X86_64 is 62, EM_AARCH64 is 183.
case $(od --address-radix=n --format=u2 --skip-bytes=18 --read-bytes=2 "$binary" | tr -d ' ') in
  62) architecture=amd64 ;;
  183) architecture=arm64 ;;
  *) echo "$binary is for neither amd64 nor arm64" >&2; exit 1 ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/root/{bin,bundle,host,tmp} "$work/layout/blobs/sha256"
cp "$busybox" "$work/root/bin/busybox"
for applet in $("$busybox" --list); do
  [[ $applet == busybox ]] || ln -s busybox "$work/root/bin/$applet"
done
cp -R "$bundle/$id" "$work/root/bundle/"
install -m 755 "$here/install.sh" "$work/root/install.sh"
chmod -R u+w,go+rX-w "$work/root"

pack() {
  tar --create --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu --directory="$1" "${@:2}"
}
# Adds standard input to the blobs and prints its descriptor's digest and size.
blob() {
  local file digest
  file=$(mktemp "$work/blob-XXXXXX")
  cat > "$file"
  digest=$(sha256sum "$file" | cut -d ' ' -f 1)
  chmod 644 "$file"
  mv "$file" "$work/layout/blobs/sha256/$digest"
  printf '"digest":"sha256:%s","size":%d' "$digest" "$(stat -c %s "$work/layout/blobs/sha256/$digest")"
}

pack "$work/root" . > "$work/layer.tar"
diff_id=$(sha256sum "$work/layer.tar" | cut -d ' ' -f 1)
layer=$(gzip --no-name < "$work/layer.tar" | blob)
config=$(
  cat << JSON | blob
{"architecture":"$architecture","os":"linux","config":{"Entrypoint":["/install.sh"],"Env":["PATH=/bin","BUNDLE=/bundle"],"Labels":{"org.opencontainers.image.title":"catena-installer","org.opencontainers.image.version":"$id"}},"rootfs":{"type":"layers","diff_ids":["sha256:$diff_id"]}}
JSON
)
manifest=$(
  cat << JSON | blob
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json",$config},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip",$layer}]}
JSON
)
cat > "$work/layout/index.json" << JSON
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",$manifest,"platform":{"architecture":"$architecture","os":"linux"},"annotations":{"io.containerd.image.name":"$name","org.opencontainers.image.ref.name":"${name##*:}"}}]}
JSON
echo '{"imageLayoutVersion":"1.0.0"}' > "$work/layout/oci-layout"
pack "$work/layout" blobs index.json oci-layout > "$out.new"
mv "$out.new" "$out"
echo "$name"
