//! As much of `wasi_snapshot_preview1` as guests of compilers for WASI need to
//! start and to write: no files, no arguments, no environment.

use wasmi::{Caller, Error, ExternType, Linker, Module, Val};

use crate::memory;
use crate::state::State;

const MODULE: &str = "wasi_snapshot_preview1";

const SUCCESS: i32 = 0;
const BAD_DESCRIPTOR: i32 = 8;
const INVALID: i32 = 28;
const IO: i32 = 29;
const NOT_SUPPORTED: i32 = 52;

/// What a guest writes beyond this, in one call, is lost.
const MAX_OUTPUT: usize = 1 << 20;
const MAX_VECTORS: u32 = 1024;

type Host<'a> = Caller<'a, State>;

/// Makes the module known to `linker`. Functions that `module` imports and
/// that are not here answer that they are not supported.
pub fn link(linker: &mut Linker<State>, module: &Module) -> Result<(), Error> {
    linker
        .func_wrap(MODULE, "args_sizes_get", none)?
        .func_wrap(MODULE, "environ_sizes_get", none)?
        .func_wrap(MODULE, "args_get", |_: u32, _: u32| SUCCESS)?
        .func_wrap(MODULE, "environ_get", |_: u32, _: u32| SUCCESS)?
        .func_wrap(MODULE, "clock_time_get", clock_time_get)?
        .func_wrap(MODULE, "clock_res_get", |mut host: Host<'_>, clock: u32, at: u32| match clock {
            0 | 1 => put(&mut host, at, &1_000_u64.to_le_bytes()),
            _ => Ok(INVALID),
        })?
        .func_wrap(MODULE, "random_get", random_get)?
        .func_wrap(MODULE, "sched_yield", || SUCCESS)?
        .func_wrap(MODULE, "proc_exit", |code: i32| -> Result<(), Error> { Err(Error::i32_exit(code)) })?
        .func_wrap(MODULE, "fd_write", fd_write)?
        .func_wrap(MODULE, "fd_close", |_: u32| BAD_DESCRIPTOR)?
        .func_wrap(MODULE, "fd_seek", |_: u32, _: i64, _: u32, _: u32| BAD_DESCRIPTOR)?
        .func_wrap(MODULE, "fd_fdstat_get", fd_fdstat_get)?
        .func_wrap(MODULE, "fd_prestat_get", |_: u32, _: u32| BAD_DESCRIPTOR)?
        .func_wrap(MODULE, "fd_prestat_dir_name", |_: u32, _: u32, _: u32| BAD_DESCRIPTOR)?
        .func_wrap(MODULE, "fd_read", |mut host: Host<'_>, fd: u32, _: u32, _: u32, read: u32| match fd {
            // Standard input is at its end.
            0 => put(&mut host, read, &0_u32.to_le_bytes()),
            _ => Ok(BAD_DESCRIPTOR),
        })?;
    link_missing(linker, module)
}

fn link_missing(linker: &mut Linker<State>, module: &Module) -> Result<(), Error> {
    // A function that is there cannot be linked again.
    for import in module.imports().filter(|import| import.module() == MODULE) {
        if let ExternType::Func(kind) = import.ty() {
            let known = linker.func_new(MODULE, import.name(), kind.clone(), |_, _, results| {
                if let [result] = results {
                    *result = Val::I32(NOT_SUPPORTED);
                }
                Ok(())
            });
            drop(known);
        }
    }
    Ok(())
}

fn put(host: &mut Host<'_>, at: u32, bytes: &[u8]) -> Result<i32, Error> {
    memory::write(host, at, bytes).map(|()| SUCCESS)
}

/// Number and length of what there is none of.
fn none(mut host: Host<'_>, count: u32, len: u32) -> Result<i32, Error> {
    put(&mut host, count, &0_u32.to_le_bytes())?;
    put(&mut host, len, &0_u32.to_le_bytes())
}

fn clock_time_get(mut host: Host<'_>, clock: u32, _precision: i64, at: u32) -> Result<i32, Error> {
    let now = match clock {
        0 => host.data_mut().clock.wall_ns(),
        1 => host.data_mut().clock.passed_ns(),
        _ => return Ok(INVALID),
    };
    put(&mut host, at, &now.to_le_bytes())
}

fn random_get(mut host: Host<'_>, at: u32, len: u32) -> Result<i32, Error> {
    let (data, state) = memory::of(&host)?.data_and_store_mut(&mut host);
    let region = data.get_mut(at as usize..).and_then(|rest| rest.get_mut(..len as usize));
    let region = region.ok_or_else(|| Error::new("out of memory"))?;
    Ok(if state.clock.fill(region) { SUCCESS } else { IO })
}

fn fd_write(mut host: Host<'_>, fd: u32, vectors: u32, count: u32, written: u32) -> Result<i32, Error> {
    if !matches!(fd, 1 | 2) {
        return Ok(BAD_DESCRIPTOR);
    }
    if count > MAX_VECTORS {
        return Ok(INVALID);
    }
    let mut all = Vec::new();
    for vector in memory::read(&host, "vectors", vectors, count * 8)?.chunks_exact(8) {
        let word = |at: usize| vector[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
        all.extend(memory::read(&host, "output", word(0), word(4))?);
    }
    let len = u32::try_from(all.len()).unwrap_or(u32::MAX);
    let state = host.data_mut();
    let output = if fd == 1 { &mut state.stdout } else { &mut state.stderr };
    all.truncate(MAX_OUTPUT.saturating_sub(output.len()));
    output.append(&mut all);
    put(&mut host, written, &len.to_le_bytes())
}

/// The three standard streams are character devices.
fn fd_fdstat_get(mut host: Host<'_>, fd: u32, at: u32) -> Result<i32, Error> {
    if fd > 2 {
        return Ok(BAD_DESCRIPTOR);
    }
    let mut stat = [0; 24];
    stat[0] = 2;
    stat[8..16].fill(0xff);
    put(&mut host, at, &stat)
}
