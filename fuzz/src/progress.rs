//! The input that is being tried, in a file: whatever end a process takes, the
//! one that started it finds there what led to it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const HEADER: usize = 16;

pub struct Progress(File);

impl Progress {
    pub fn open(path: &Path) -> io::Result<Self> {
        File::options().read(true).write(true).open(path).map(Self)
    }

    pub fn note(&self, iteration: u64, input: &[u8]) -> io::Result<()> {
        let mut record = Vec::with_capacity(HEADER + input.len());
        record.extend_from_slice(&iteration.to_le_bytes());
        record.extend_from_slice(&(input.len() as u64).to_le_bytes());
        record.extend_from_slice(input);
        self.0.write_all_at(&record, 0)
    }

    /// The number of the last input; zero before the first.
    pub fn iteration(&self) -> io::Result<u64> {
        Ok(self.number(0)?.unwrap_or(0))
    }

    pub fn input(&self) -> io::Result<Vec<u8>> {
        let length = self.number(8)?.unwrap_or(0);
        let mut input = vec![0; usize::try_from(length).unwrap_or(0)];
        self.0.read_exact_at(&mut input, HEADER as u64)?;
        Ok(input)
    }

    fn number(&self, at: u64) -> io::Result<Option<u64>> {
        let mut bytes = [0; 8];
        match self.0.read_exact_at(&mut bytes, at) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            read => read.map(|()| Some(u64::from_le_bytes(bytes))),
        }
    }
}
