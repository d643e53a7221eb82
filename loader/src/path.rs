//! Paths inside the archive: internal modules are named relative to the kernel.
//!
//! Called by: the binary's `answers`.

/// Folders deep that a path may go.
const MAX_DEPTH: usize = 32;

/// True if `wanted`, seen from the folder of the file `from`, is the file `candidate`.
///
/// `from` and `candidate` start with a slash. A `wanted` that starts with one is taken from the root. A path deeper
/// than 32 folders is no file's.
pub fn leads_to(from: &[u8], wanted: &[u8], candidate: &[u8]) -> bool {
    let folder = match from.iter().rposition(|&byte| byte == b'/') {
        Some(slash) if !wanted.starts_with(b"/") => &from[..slash],
        _ => b"",
    };
    let mut parts: [&[u8]; MAX_DEPTH] = [b""; MAX_DEPTH];
    let mut depth = 0;
    for part in folder.split(|&byte| byte == b'/').chain(wanted.split(|&byte| byte == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => depth = usize::saturating_sub(depth, 1),
            _ if depth == MAX_DEPTH => return false,
            _ => {
                parts[depth] = part;
                depth += 1;
            }
        }
    }
    parts[..depth].iter().copied().eq(candidate.split(|&byte| byte == b'/').skip(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_kernels_folder() {
        assert!(leads_to(b"/boot/kernel", b"module", b"/boot/module"));
        assert!(leads_to(b"/boot/kernel", b"./a//b", b"/boot/a/b"));
        assert!(leads_to(b"/boot/kernel", b"../module", b"/module"));
        assert!(leads_to(b"/kernel", b"../../module", b"/module"), "above the root is the root");
        assert!(leads_to(b"/boot/kernel", b"/module", b"/module"));
        assert!(!leads_to(b"/boot/kernel", b"module", b"/module"));
        assert!(!leads_to(b"/boot/kernel", b"", b"/boot/kernel"));
        assert!(!leads_to(b"/kernel", &b"x/".repeat(40), b"/x"));
    }
}
