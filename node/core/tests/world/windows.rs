//! What a rate lets come in any time.

use proptest::prop_assert;
use proptest::test_runner::TestCaseError;

/// Of what came, by time in ms: in no window more than this rate (messages per 1,000 s) and its
/// burst let.
pub fn hold(came: &[(u64, u64)], rate: u64) -> Result<(), TestCaseError> {
    let burst = u128::from(rate).max(1_000) * 1_000;
    for (n, (begin, _)) in came.iter().enumerate() {
        let mut sum = 0;
        for (end, messages) in &came[n..] {
            sum += u128::from(*messages);
            let most = u128::from(rate) * u128::from(end - begin) + burst;
            prop_assert!(sum * 1_000_000 <= most, "{sum} in {} ms", end - begin);
        }
    }
    Ok(())
}
