//! Instructions that fault, for those who want to see what happens then.

use core::arch::asm;

/// Executes an instruction that no CPU defines: #UD.
pub fn undefined_opcode() {
    // SAFETY: the instruction has no effect but the exception.
    unsafe { asm!("ud2", options(nomem, nostack)) }
}

/// Divides by zero: #DE.
pub fn divide_by_zero() {
    // SAFETY: the division has no effect but the exception; the registers it would change are named.
    unsafe { asm!("xor edx, edx", "mov eax, 1", "xor ecx, ecx", "div ecx", out("eax") _, out("ecx") _, out("edx") _) }
}
