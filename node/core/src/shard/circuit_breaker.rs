//! When a consumer group is to get no deliveries for a while, because too many fail.

use crate::codec::{Decoded, Put, Reader};

/// When the circuit breaker of a consumer group opens in a partition, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// It opens when at least so many of the outcomes of a window are failures: 1..=100 percent.
    pub error_percent: u8,
    /// And not before a window has so many outcomes: 1..=10,000.
    pub min_deliveries: u32,
    /// How long outcomes are counted together: 1 s..=1 h in ms.
    pub window_ms: u64,
    /// How long it stays open before one message is tried: 1 s..=1 h in ms.
    pub open_ms: u64,
}

impl CircuitBreaker {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.error_percent);
        out.put_varint(u64::from(self.min_deliveries));
        out.put_varint(self.window_ms);
        out.put_varint(self.open_ms);
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            error_percent: r.u8("percent of failures")?,
            min_deliveries: r.varint_u32("min deliveries of circuit breaker")?,
            window_ms: r.varint("window of circuit breaker")?,
            open_ms: r.varint("open time of circuit breaker")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_bytes_are_frozen() {
        let breaker = CircuitBreaker {
            error_percent: 50,
            min_deliveries: 300,
            window_ms: 400,
            open_ms: 500,
        };
        let mut bytes = Vec::new();
        breaker.encode(&mut bytes);
        assert_eq!(bytes, [50, 0xac, 2, 0x90, 3, 0xf4, 3]);
        let read = |bytes| CircuitBreaker::decode(&mut Reader::new(bytes));
        assert_eq!(read(&bytes), Ok(breaker));
        assert!(read(&bytes[..5]).is_err());
    }
}
