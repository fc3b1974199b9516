//! How the shim is linked.

fn main() {
    // Every process of a position-independent program has a copy of its own of all tables of addresses, 1.4 MiB here,
    // because they are filled in when it starts. Without that they are pages of the file, one for all containers of a
    // node. Heap, stacks, libraries and compiled guests stay at random addresses.
    println!("cargo::rustc-link-arg-bins=-no-pie");
    println!("cargo::rerun-if-changed=build.rs");
}
