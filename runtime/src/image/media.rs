//! Media types and annotation names of the images that catena reads and writes.

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const LOCKFILE: &str = "application/vnd.fermyon.spin.application.v1+config";
pub(crate) const SPIN_WASM: &str = "application/vnd.wasm.content.layer.v1+wasm";
pub(crate) const SPIN_DATA: &str = "application/vnd.wasm.content.layer.v1+data";
pub(crate) const SPIN_ARCHIVE: &str = "application/vnd.wasm.content.bundle.v1.tar+gzip";
pub(crate) const WASM: &str = "application/wasm";
pub(crate) const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// The file name of a blob.
pub(crate) const TITLE: &str = "org.opencontainers.image.title";
/// The name that an image goes by in a layout's index.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The full name that `ctr image import` gives to an image.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";

pub(crate) fn is_index(media_type: &str) -> bool {
    matches!(
        media_type,
        OCI_INDEX | "application/vnd.docker.distribution.manifest.list.v2+json"
    )
}

pub(crate) fn is_manifest(media_type: &str) -> bool {
    matches!(
        media_type,
        OCI_MANIFEST | "application/vnd.docker.distribution.manifest.v2+json"
    )
}

pub(crate) fn is_lockfile(media_type: &str) -> bool {
    media_type == LOCKFILE
}

/// One wasm file: of the CNCF artifact, of Spin, of runwasi before that.
pub(crate) fn is_wasm(media_type: &str) -> bool {
    matches!(
        media_type,
        WASM | SPIN_WASM
            | "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm"
            | "application/vnd.bytecodealliance.wasm.module.layer.v0+wasm"
            | "application/vnd.module.wasm.content.layer.v1+wasm"
    )
}

pub(crate) fn is_wasm_config(media_type: &str) -> bool {
    matches!(
        media_type,
        WASM_CONFIG | "application/vnd.wasm.config.v1+json"
    )
}

pub(crate) fn is_archive(media_type: &str) -> bool {
    media_type == SPIN_ARCHIVE
}

/// A layer of a root file system. Its compression is told by its first bytes.
pub(crate) fn is_tar(media_type: &str) -> bool {
    matches!(
        media_type,
        OCI_LAYER
            | OCI_LAYER_GZIP
            | "application/vnd.oci.image.layer.v1.tar+zstd"
            | "application/vnd.docker.image.rootfs.diff.tar"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd"
    )
}
