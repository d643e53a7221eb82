//! Links the kernel's binary, and nothing else in the workspace, with the linker script at the root.

fn main() {
    println!("cargo:rerun-if-changed=../linker.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        println!("cargo:rustc-link-arg-bins=-T{root}/../linker.ld");
    }
}
