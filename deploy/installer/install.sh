#!/bin/sh
# Installs catena on a node, and takes it away again. It runs with any POSIX shell, busybox's too: in the installer's
# image with the node's root file system at HOST_ROOT, or on the node itself.
#
#   install.sh install|uninstall|status|wait
#
# `wait` sleeps until it is told to end: what the DaemonSet does once the init container has installed.
# Whatever it does it can do again: what is as it should be is left alone, and nothing is restarted for it.
set -eu

# Where the versions lie: what bundle.sh was told.
PREFIX=${PREFIX:-/opt/catena}
# The node's root file system; nothing for the machine that this runs on.
HOST_ROOT=${HOST_ROOT:-}
# The folder that bundle.sh wrote, with one version in it.
BUNDLE=${BUNDLE:-$(dirname "$0")/bundle}
# Where containerd looks for shims: a folder of its PATH.
BIN_DIR=${BIN_DIR:-/usr/local/bin}
# The name that a RuntimeClass's `handler` says.
HANDLER=${HANDLER:-catena}
# auto, containerd, k3s, rke2, or none: no configuration, which is enough for ctr.
RUNTIME=${RUNTIME:-auto}
# containerd's configuration where it is not in the usual place; for k3s and rke2 the folder of it.
CONTAINERD_CONFIG=${CONTAINERD_CONFIG:-}
# Whether systemd manages the containers' cgroups: auto (as for runc), true, false.
SYSTEMD_CGROUP=${SYSTEMD_CGROUP:-auto}
# Where compiled code is kept on the node.
CACHE_DIR=${CACHE_DIR:-/var/cache/catena}
# The shim's options, which containerd's configuration names.
SHIM_TOML=${SHIM_TOML:-/etc/catena/shim.toml}
# 0: containerd is not restarted; a line says what to restart.
RESTART=${RESTART:-1}
# The path of another shim that catena stands in for, such as /usr/local/bin/containerd-shim-spin-v2; `auto` is every
# containerd-shim-spin-v2 that is found in the usual places.
DROP_IN=${DROP_IN:-}

NAME=containerd-shim-catena-v1
PENDING=$PREFIX/restart-pending
LINKS=$PREFIX/links
BEGIN='# >>> catena: written by its installer, removed by its uninstall'
END='# <<< catena'
WRITTEN="# Written by catena's installer, which replaces it. Without this line it leaves the file alone."
case $HOST_ROOT in /) HOST_ROOT= ;; esac

say() { echo "catena: $*"; }
fail() {
  echo "catena: $*" >&2
  exit 1
}

# Runs a command of the node.
on_host() {
  if [ -n "$HOST_ROOT" ]; then
    # systemctl does nothing in what it takes for a chroot; this one holds the node's own /run.
    SYSTEMD_IGNORE_CHROOT=1 chroot "$HOST_ROOT" "$@"
  else
    "$@"
  fi
}

# Writes standard input to a file of the node: beside it first, then renamed, with the mode that it had.
put() {
  file=$HOST_ROOT$1
  if [ -L "$file" ]; then
    fail "$1 is a symbolic link: name the file itself with CONTAINERD_CONFIG"
  fi
  mkdir -p "$(dirname "$file")"
  cat > "$file.catena-new"
  if [ -e "$file" ]; then
    chmod "$(stat -c %a "$file")" "$file.catena-new"
    chown "$(stat -c %u:%g "$file")" "$file.catena-new"
  fi
  sync
  mv -f "$file.catena-new" "$file"
}

# ---- the files ----

# What the bundle holds: a folder named after its content.
bundled() {
  id=
  for folder in "$BUNDLE"/*/bin/"$NAME"; do
    [ -z "$id" ] || fail "there is more than one version in $BUNDLE"
    id=$(basename "$(dirname "$(dirname "$folder")")")
  done
  [ -x "$BUNDLE/$id/bin/$NAME" ] || fail "there is no bundle in $BUNDLE: deploy/bundle.sh makes one"
}

sound() {
  [ -d "$1" ] && (cd "$1" && sha256sum -c SHA256SUMS > /dev/null 2>&1)
}

install_files() {
  bundled
  target=$HOST_ROOT$PREFIX/$id
  if ! sound "$target"; then
    mkdir -p "$HOST_ROOT$PREFIX"
    rm -rf "$HOST_ROOT$PREFIX"/.new-*
    cp -R "$BUNDLE/$id" "$HOST_ROOT$PREFIX/.new-$id"
    sound "$HOST_ROOT$PREFIX/.new-$id" || fail "the copy in $PREFIX is damaged: is the disk full?"
    sync
    # Only a damaged version is in the way: a sound one was left alone above.
    rm -rf "$target"
    mv "$HOST_ROOT$PREFIX/.new-$id" "$target"
    say "copied $id to $PREFIX"
  fi
  on_host "$PREFIX/$id/bin/$NAME" -v > /dev/null || fail "$PREFIX/$id/bin/$NAME does not run on this node"
  link "$BIN_DIR/$NAME"
  link "$BIN_DIR/catena"
  for path in $(drop_ins); do
    link "$path"
  done
  prune "$id"
}

# Puts a link to the version in the place of what is there, which is kept beside it if it is not ours.
link() {
  at=$HOST_ROOT$1 to=$PREFIX/$id/bin/$NAME
  if [ "$(readlink "$at" 2> /dev/null)" = "$to" ]; then
    return
  fi
  mkdir -p "$(dirname "$at")"
  if [ -e "$at" ] || [ -L "$at" ]; then
    ours "$at" || { cp -a "$at" "$at.before-catena" && say "kept $1 as $1.before-catena"; }
  fi
  grep -qxF "$1" "$HOST_ROOT$LINKS" 2> /dev/null || echo "$1" >> "$HOST_ROOT$LINKS"
  rm -f "$at.catena-new"
  ln -s "$to" "$at.catena-new"
  mv -f "$at.catena-new" "$at"
  say "linked $1"
}

ours() {
  case $(readlink "$1" 2> /dev/null) in "$PREFIX"/*) return 0 ;; esac
  return 1
}

drop_ins() {
  if [ "$DROP_IN" != auto ]; then
    echo "$DROP_IN"
    return
  fi
  for folder in "$BIN_DIR" /usr/local/bin /usr/bin /opt/kwasm/bin /opt/rcm/bin; do
    path=$folder/containerd-shim-spin-v2
    if [ -e "$HOST_ROOT$path" ] || [ -L "$HOST_ROOT$path" ]; then
      echo "$path"
    fi
  done | sort -u
}

# Whether a process runs from a folder of the node: 0 yes, 1 no, 2 where that cannot be seen.
in_use() {
  seen=1
  for process in "$HOST_ROOT"/proc/[0-9]*; do
    [ -d "$process" ] || continue
    if exe=$(readlink "$process/exe" 2> /dev/null); then
      case $exe in "$1"/* | "$HOST_ROOT$1"/*) return 0 ;; esac
    elif [ -s "$process/cmdline" ] && [ -n "$(tr -d '\0' < "$process/cmdline" 2> /dev/null)" ]; then
      # Neither gone nor one of the kernel's.
      seen=2
    fi
  done
  return $seen
}

# Removes the versions that nothing runs from, but for the one given.
prune() {
  for folder in "$HOST_ROOT$PREFIX"/*/; do
    version=$(basename "$folder")
    if [ "$version" = "$1" ] || [ ! -d "$HOST_ROOT$PREFIX/$version/bin" ]; then
      continue
    fi
    state=0
    in_use "$PREFIX/$version" || state=$?
    if [ $state = 1 ]; then
      rm -rf "$HOST_ROOT${PREFIX:?}/${version:?}"
      say "removed $version"
    else
      say "kept $version: containers may run from it"
    fi
  done
}

# ---- containerd's configuration ----

# Sets `kind` and `config`: the file that containerd reads, or the folder of k3s's and rke2's templates.
detect() {
  kind=$RUNTIME
  if [ "$kind" = auto ]; then
    if [ -d "$HOST_ROOT/var/lib/rancher/k3s/agent/etc/containerd" ]; then
      kind=k3s
    elif [ -d "$HOST_ROOT/var/lib/rancher/rke2/agent/etc/containerd" ]; then
      kind=rke2
    elif [ -d "$HOST_ROOT/etc/containerd" ] || [ -x "$HOST_ROOT/usr/bin/containerd" ] ||
      [ -x "$HOST_ROOT/usr/local/bin/containerd" ]; then
      kind=containerd
    else
      fail "found neither containerd nor k3s nor rke2: say RUNTIME and CONTAINERD_CONFIG, or RUNTIME=none"
    fi
  fi
  case $kind in
    k3s | rke2) config=${CONTAINERD_CONFIG:-/var/lib/rancher/$kind/agent/etc/containerd} ;;
    containerd) config=${CONTAINERD_CONFIG:-/etc/containerd/config.toml} ;;
    none) config= ;;
    *) fail "RUNTIME is \"$kind\": one of auto, containerd, k3s, rke2, none" ;;
  esac
}

# A file of the node without what the installer wrote into it.
without_ours() {
  [ ! -e "$HOST_ROOT$1" ] || awk -v begin="$BEGIN" -v end="$END" '
    $0 == begin { ours = 1 }
    !ours { print }
    $0 == end { ours = 0 }' "$HOST_ROOT$1"
}

version_of() {
  [ ! -e "$HOST_ROOT$1" ] || sed -n 's/^[[:space:]]*version[[:space:]]*=[[:space:]]*\([0-9]*\).*/\1/p' "$HOST_ROOT$1" |
    head -n 1
}

# The paths that a configuration imports, a line each, as they are written but absolute.
imports_of() {
  [ -e "$HOST_ROOT$1" ] || return 0
  # \047 is the other quotation mark of TOML.
  awk '
    /^[[:space:]]*imports[[:space:]]*=/ { inside = 1 }
    inside {
      sub(/#.*/, "")
      last = /\]/
      while (match($0, /["\047][^"\047]*["\047]/)) {
        print substr($0, RSTART + 1, RLENGTH - 2)
        $0 = substr($0, RSTART + RLENGTH)
      }
      if (last) exit
    }' "$HOST_ROOT$1" | while read -r path; do
    case $path in /*) echo "$path" ;; *) echo "$(dirname "$1")/$path" ;; esac
  done
}

# The files of the node that a configuration imports.
imported_files() {
  imports_of "$1" | while read -r pattern; do
    for path in "$HOST_ROOT"$pattern; do
      [ ! -f "$path" ] || echo "${path#"$HOST_ROOT"}"
    done
  done
}

# The folder that a configuration imports every .toml of.
imported_folder() {
  imports_of "$1" | sed -n 's/\/\*\.toml$//p' | head -n 1
}

names_handler() {
  without_ours "$1" | grep -q "^[[:space:]]*\[.*\.runtimes\.[\"']\{0,1\}${HANDLER}[\"']\{0,1\}\]"
}

# The entry for containerd's configuration of that version.
entry() {
  case $1 in
    2) plugin='plugins."io.containerd.grpc.v1.cri".containerd.runtimes' ;;
    3) plugin="plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes" ;;
  esac
  if [ "$2" = with-runc ]; then
    # containerd 1.x forgets its own entry for runc as soon as there is any other.
    printf '[%s.runc]\n  runtime_type = "io.containerd.runc.v2"\n' "$plugin"
  fi
  printf '[%s.%s]\n  runtime_type = "io.containerd.catena.v1"\n' "$plugin" "$HANDLER"
  printf '  [%s.%s.options]\n    ConfigPath = "%s"\n' "$plugin" "$HANDLER" "$SHIM_TOML"
}

# Sets `file`, where the entry goes, its `version`, what it needs `first` where the file is new, and `runc`.
choose() {
  runc=without first=
  case $kind in
    k3s | rke2)
      # The file that they generate says what their containerd reads. Made of a template of version 2 it is of that
      # version with containerd 2.x too.
      version=$(version_of "$config/config.toml")
      imported=$(imported_folder "$config/config.toml")
      case $version in
        2) file=$config/config.toml.tmpl first='{{ template "base" . }}' ;;
        3)
          file=$config/config-v3.toml.tmpl first='{{ template "base" . }}'
          [ -z "$imported" ] || { file=$imported/50-catena.toml && first='version = 3'; }
          ;;
        *) fail "$config/config.toml is missing or of version ${version:-1}: start $kind once" ;;
      esac
      ;;
    containerd)
      file=$config
      version=$(version_of "$config")
      if [ ! -e "$HOST_ROOT$config" ] || [ -z "$(without_ours "$config")" ]; then
        # Both containerd 1.x and 2.x read version 2.
        version=2 first='version = 2' runc=with-runc
        return
      fi
      case $version in
        2)
          # containerd 1.x does not merge: the last file that speaks of CRI replaces what the others say of it.
          for path in $(imported_files "$config"); do
            if without_ours "$path" | grep -q '^[^#]*io\.containerd\.grpc\.v1\.cri'; then
              file=$path
            fi
          done
          without_ours "$file" | grep -q '^[[:space:]]*\[.*io\.containerd\.grpc\.v1\.cri.*\.runtimes\.' || runc=with-runc
          ;;
        3)
          # containerd 2.x merges, files of one version.
          imported=$(imported_folder "$config")
          [ -z "$imported" ] || { file=$imported/50-catena.toml && first='version = 3'; }
          ;;
        *)
          fail "$config is of version ${version:-1}, which is not known here: \`containerd config migrate\` rewrites it"
          ;;
      esac
      ;;
  esac
}

# Whether containerd serves no CRI, so that there is nothing to configure.
without_cri() {
  [ "$kind" = containerd ] && [ -e "$HOST_ROOT$config" ] &&
    grep -q "^[[:space:]]*disabled_plugins[[:space:]]*=.*[\"'.]cri[\"']" "$HOST_ROOT$config"
}

# Every file that may hold the entry.
candidates() {
  case $kind in
    k3s | rke2)
      printf '%s\n' "$config/config.toml.tmpl" "$config/config-v3.toml.tmpl"
      imported_files "$config/config.toml"
      ;;
    containerd)
      echo "$config"
      imported_files "$config"
      ;;
  esac
}

configure() {
  detect
  if [ "$kind" = none ]; then
    return
  fi
  write_options
  if without_cri; then
    say "CRI is disabled in $config: ctr and nerdctl can use catena, Kubernetes cannot"
    return
  fi
  for path in $(candidates); do
    if names_handler "$path"; then
      say "$path names the runtime \"$HANDLER\" already: left alone"
      return
    fi
  done
  choose
  for path in $(candidates); do
    [ "$path" = "$file" ] || take_out "$path"
  done
  wanted=$(
    without_ours "$file"
    echo "$BEGIN"
    [ -n "$(without_ours "$file")" ] || [ -z "$first" ] || echo "$first"
    entry "$version" "$runc"
    echo "$END"
  )
  if [ "$wanted" = "$(cat "$HOST_ROOT$file" 2> /dev/null)" ]; then
    return
  fi
  if [ -e "$HOST_ROOT$file" ] && [ ! -e "$HOST_ROOT$file.before-catena" ] && ! grep -qxF "$BEGIN" "$HOST_ROOT$file"; then
    cp -p "$HOST_ROOT$file" "$HOST_ROOT$file.before-catena"
  fi
  : > "$HOST_ROOT$PENDING"
  echo "$wanted" | put "$file"
  say "configured $file"
}

# Takes the entry out of a file, which then is as it was.
take_out() {
  at=$HOST_ROOT$1
  grep -qsxF "$BEGIN" "$at" || return 0
  : > "$HOST_ROOT$PENDING"
  if [ -z "$(without_ours "$1")" ]; then
    rm -f "$at"
  elif [ "$(without_ours "$1")" = "$(cat "$at.before-catena" 2> /dev/null)" ]; then
    # To the byte, the end of the last line too.
    mv -f "$at.before-catena" "$at"
  else
    without_ours "$1" | put "$1"
  fi
  rm -f "$at.before-catena"
  say "took the entry out of $1"
}

# With version 1 the shim makes cgroups as folders only, and refuses pods whose cgroup is to be systemd's.
check_cgroups() {
  cgroups=$HOST_ROOT/sys/fs/cgroup
  if [ "$systemd" = true ] && [ -d "$cgroups/systemd" ] && [ ! -e "$cgroups/cgroup.controllers" ]; then
    say "warning: systemd is to manage the cgroups of containers, and this node has version 1 of cgroups, where catena" \
      "needs the driver cgroupfs: give it to the kubelet and containerd, or boot with version 2"
  fi
}

# The shim's own options, which it reads for every container.
write_options() {
  systemd=$SYSTEMD_CGROUP
  if [ "$systemd" = auto ]; then
    systemd=false
    for path in "$config" "$config/config.toml" $(candidates); do
      if grep -qs '^[[:space:]]*SystemdCgroup[[:space:]]*=[[:space:]]*true' "$HOST_ROOT$path"; then
        systemd=true
      fi
    done
  fi
  check_cgroups
  if [ -e "$HOST_ROOT$SHIM_TOML" ] && ! grep -qxF "$WRITTEN" "$HOST_ROOT$SHIM_TOML"; then
    say "$SHIM_TOML is somebody's own: left alone"
    return
  fi
  wanted=$(printf '%s\nSystemdCgroup = %s\ncache_dir = "%s"\n' "$WRITTEN" "$systemd" "$CACHE_DIR")
  if [ "$wanted" != "$(cat "$HOST_ROOT$SHIM_TOML" 2> /dev/null)" ]; then
    echo "$wanted" | put "$SHIM_TOML"
    say "wrote $SHIM_TOML"
  fi
}

# ---- the restart ----

# Sets `service`: what runs containerd on this node.
find_service() {
  case $kind in
    containerd) names=containerd ;;
    k3s) names='k3s k3s-agent' ;;
    rke2) names='rke2-server rke2-agent' ;;
  esac
  for service in $names; do
    for folder in /etc/systemd/system /usr/local/lib/systemd/system /usr/lib/systemd/system /lib/systemd/system /etc/init.d; do
      if [ -e "$HOST_ROOT$folder/$service.service" ] || [ -x "$HOST_ROOT$folder/$service" ]; then
        if [ "$service" != rke2-server ] || [ -d "$HOST_ROOT/var/lib/rancher/rke2/server" ]; then
          return 0
        fi
      fi
    done
  done
  service=$(echo "$names" | cut -d ' ' -f 1)
}

has() { on_host /bin/sh -c "command -v $1" > /dev/null 2>&1; }

# Restarts containerd where its configuration has changed since its last start by us. Containers run on meanwhile.
restart_if_needed() {
  [ -e "$HOST_ROOT$PENDING" ] || return 0
  find_service
  if [ "$RESTART" = 0 ]; then
    say "containerd's configuration has changed: restart $service"
    return
  fi
  if has systemctl; then
    on_host systemctl restart "$service" || fail "systemctl restart $service has failed"
  elif has rc-service; then
    on_host rc-service "$service" restart || fail "rc-service $service restart has failed"
  else
    say "found neither systemctl nor rc-service on the node: restart $service"
    return
  fi
  rm -f "$HOST_ROOT$PENDING"
  say "restarted $service"
}

# ---- what people say ----

uninstall() {
  detect
  mkdir -p "$HOST_ROOT$PREFIX"
  for path in $(candidates); do
    take_out "$path"
  done
  restart_if_needed
  [ ! -e "$HOST_ROOT$LINKS" ] || while read -r path; do
    at=$HOST_ROOT$path
    if ours "$at"; then
      rm -f "$at"
      say "removed $path"
      [ ! -e "$at.before-catena" ] || mv -f "$at.before-catena" "$at"
    fi
  done < "$HOST_ROOT$LINKS"
  if grep -qsxF "$WRITTEN" "$HOST_ROOT$SHIM_TOML"; then
    rm -f "$HOST_ROOT$SHIM_TOML"
    rmdir "$HOST_ROOT$(dirname "$SHIM_TOML")" 2> /dev/null || true
  fi
  # Somebody may have named a folder that holds more.
  case $CACHE_DIR in
    */catena) rm -rf "$HOST_ROOT$CACHE_DIR" ;;
    *) say "kept $CACHE_DIR, which holds compiled code" ;;
  esac
  prune ''
  rm -rf "$HOST_ROOT$LINKS" "$HOST_ROOT$PENDING" "$HOST_ROOT$PREFIX"/.new-*
  rmdir "$HOST_ROOT$PREFIX" 2> /dev/null || true
}

status() {
  detect
  if [ "$(readlink "$HOST_ROOT$BIN_DIR/$NAME")" ] && on_host "$BIN_DIR/$NAME" -v > /dev/null 2>&1; then
    say "installed: $(readlink "$HOST_ROOT$BIN_DIR/$NAME")"
  else
    fail "not installed"
  fi
  if [ "$kind" = none ] || without_cri; then
    return
  fi
  configured=
  for path in $(candidates); do
    if names_handler "$path" || grep -qsxF "$BEGIN" "$HOST_ROOT$path"; then
      configured=$path
    fi
  done
  [ -n "$configured" ] || fail "no file of $kind names the runtime \"$HANDLER\""
  say "configured: $configured"
  [ ! -e "$HOST_ROOT$PENDING" ] || fail "containerd has not been restarted since its configuration changed"
}

case ${1:-} in
  install)
    install_files
    configure
    restart_if_needed
    ;;
  uninstall) uninstall ;;
  status) status ;;
  wait)
    trap 'exit 0' TERM INT
    while :; do
      sleep 3600 &
      wait $! || true
    done
    ;;
  *)
    sed -n '5s/^# *//p' "$0" >&2
    exit 2
    ;;
esac
