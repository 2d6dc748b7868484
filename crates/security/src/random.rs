//! The system's random numbers, for what asks for a generator.

use ring::rand::{SecureRandom, SystemRandom};

/// Fills `buffer`. The system has random numbers from its start on.
pub(crate) fn fill(buffer: &mut [u8]) {
    SystemRandom::new().fill(buffer).expect("the system has random numbers once it has started");
}

pub(crate) struct Random;

impl rsa::rand_core::TryRng for Random {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), Self::Error> {
        fill(buffer);
        Ok(())
    }
}

impl rsa::rand_core::TryCryptoRng for Random {}
