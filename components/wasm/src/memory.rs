//! A guest's memory, as host functions read and write it.

use wasmi::{Caller, Error, Memory};

use crate::state::State;

/// Under this name a guest shows its memory.
pub const EXPORT: &str = "memory";

pub fn of(caller: &Caller<'_, State>) -> Result<Memory, Error> {
    let memory = caller.get_export(EXPORT).and_then(wasmi::Extern::into_memory);
    memory.ok_or_else(|| Error::new("guest doesn't export memory[memory]"))
}

/// A copy of a region; `what` names it in the error.
pub fn read(caller: &Caller<'_, State>, what: &str, at: u32, len: u32) -> Result<Vec<u8>, Error> {
    let data = of(caller)?.data(caller);
    let region = data.get(at as usize..).and_then(|rest| rest.get(..len as usize));
    region.map(<[u8]>::to_vec).ok_or_else(|| Error::new(format!("out of memory reading {what}")))
}

pub fn read_text(caller: &Caller<'_, State>, what: &str, at: u32, len: u32) -> Result<String, Error> {
    read(caller, what, at, len).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

pub fn write(caller: &mut Caller<'_, State>, at: u32, bytes: &[u8]) -> Result<(), Error> {
    let memory = of(caller)?;
    memory.write(caller, at as usize, bytes).map_err(|_| Error::new("out of memory"))
}

/// Writes unless there is more than the guest has room for; the guest tries
/// again with more room.
pub fn write_within(caller: &mut Caller<'_, State>, at: u32, limit: u32, bytes: &[u8]) -> Result<u32, Error> {
    let len = u32::try_from(bytes.len()).map_err(|_| Error::new("out of memory"))?;
    if (1..=limit).contains(&len) {
        write(caller, at, bytes)?;
    }
    Ok(len)
}

/// Texts with a NUL after each; number and length come back as one.
pub fn write_texts(
    caller: &mut Caller<'_, State>,
    at: u32,
    limit: u32,
    texts: &[impl AsRef<[u8]>],
) -> Result<u64, Error> {
    let mut all = Vec::new();
    for text in texts {
        all.extend_from_slice(text.as_ref());
        all.push(0);
    }
    let len = write_within(caller, at, limit, &all)?;
    Ok(((texts.len() as u64) << 32) | u64::from(len))
}
