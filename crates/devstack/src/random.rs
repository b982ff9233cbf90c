//! Numbers and names that differ from run to run. Not for secrets.

use std::hash::{BuildHasher, RandomState};

/// A number that no other call gives.
pub(crate) fn number() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// An id in Kafka's form: 16 bytes in base64url without padding, 22 characters.
pub(crate) fn kafka_id() -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut pool = u128::from(number()) << 64 | u128::from(number());
    let mut id = String::with_capacity(22);
    for _ in 0..21 {
        id.push(char::from(ALPHABET[(pool % 62) as usize]));
        pool /= 62;
    }
    // The last character carries two bits; `A` has the other four clear.
    id.push('A');
    id
}
