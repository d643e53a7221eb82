//! Hands the kernel's linker script to the linker, for the bare-metal target only.

fn main() {
    println!("cargo:rerun-if-changed=linker.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| String::from("."));
        println!("cargo:rustc-link-arg-bins=-T{root}/linker.ld");
    }
}
