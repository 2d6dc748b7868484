//! Gives back the memory that only the start of a program needed: the pages of
//! its code that were run once, and what the allocator holds for nobody.
//!
//! Starting runs a good part of a program, and the kernel maps sixteen pages
//! around each that is touched, so two thirds of a fresh sidecar's resident
//! set is code that never runs again. The pages stay in the page cache; what
//! is needed again is mapped again, at the price of a minor fault.
//!
//! It must not know what runs. Entry: [`release_start`]. Unsafe code is allowed
//! here, and only here: no safe interface exists for either system call.
#![allow(unsafe_code, reason = "madvise and malloc_trim have no safe interface")]

/// Unmaps the program's code until it is run again and returns free memory of
/// the allocator. Returns the bytes of code that were considered; 0 where the
/// system offers no way.
pub fn release_start() -> usize {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        linux::trim_allocator();
        linux::release_code()
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    0
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod linux {
    use std::ffi::c_void;
    use std::ptr::NonNull;

    use nix::libc;
    use nix::sys::mman::{MmapAdvise, madvise};

    pub fn trim_allocator() {
        // SAFETY: takes no pointer and locks the allocator itself.
        unsafe { libc::malloc_trim(0) };
    }

    pub fn release_code() -> usize {
        let Ok(program) = std::fs::read_link("/proc/self/exe") else { return 0 };
        let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return 0 };
        let program = program.to_string_lossy();
        maps.lines().filter_map(|line| code(line, &program)).map(|(start, len)| drop_pages(start, len)).sum()
    }

    /// Start and length of a mapping of the program's own code.
    pub fn code(line: &str, program: &str) -> Option<(usize, usize)> {
        let mut fields = line.splitn(6, ' ');
        let (range, permissions) = (fields.next()?, fields.next()?);
        let path = fields.nth(3)?.trim_start();
        // Private, executable and not writable: never written to, so that what
        // is dropped is what the file holds. Data that was relocated is not
        // executable and stays.
        if permissions != "r-xp" || path != program {
            return None;
        }
        let (start, end) = range.split_once('-')?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        Some((start, end.checked_sub(start)?))
    }

    fn drop_pages(start: usize, len: usize) -> usize {
        let Some(address) = NonNull::new(start as *mut c_void) else { return 0 };
        // SAFETY: the range is a mapping of the program's file that nobody can
        // have written to; its pages come back from the file, unchanged, when
        // they are touched. The code that runs here is no exception.
        match unsafe { madvise(address, len, MmapAdvise::MADV_DONTNEED) } {
            Ok(()) => len,
            Err(_) => 0,
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn only_own_code_is_chosen() {
            let map = "55d0c0a00000-55d0c0a03000 r-xp 00001000 fe:01 1234      /usr/bin/daprd";
            assert_eq!(code(map, "/usr/bin/daprd"), Some((0x55d0_c0a0_0000, 0x3000)));
            assert_eq!(code(map, "/usr/bin/other"), None);
            for other in ["r--p", "rw-p", "rwxp", "r-xs"] {
                assert_eq!(code(&map.replace("r-xp", other), "/usr/bin/daprd"), None, "{other}");
            }
            assert_eq!(code("7ffd0000-7ffd1000 r-xp 00000000 00:00 0", "/usr/bin/daprd"), None);
            assert_eq!(code("", "x"), None);
        }

        #[test]
        fn the_program_goes_on() {
            assert!(crate::release_start() > 0);
            assert_eq!("still".to_uppercase(), "STILL");
        }
    }
}
