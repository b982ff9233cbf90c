//! From a record's key to its partition, as the other writers of our topics choose it, so that a mixed fleet sends
//! equal keys to the same partition.

/// A rule that maps keys to partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Partitioner {
    /// FNV-1a, 32 bits, read as a signed number whose remainder loses its sign: Sarama's rule and the Collector's
    /// default.
    #[default]
    SaramaCompat,
    /// Murmur2 with the sign bit cleared: the Java client's rule.
    Murmur2,
    /// CRC-32 (IEEE): librdkafka's `consistent` rule.
    Crc32,
}

impl Partitioner {
    /// The partition of `key` in a topic of `count` partitions; 0 when `count` is below 1.
    pub fn partition(self, key: &[u8], count: i32) -> i32 {
        if count < 1 {
            return 0;
        }
        match self {
            // The remainder is below `count` in size, so its absolute value always exists.
            Partitioner::SaramaCompat => (fnv1a(key) as i32 % count).abs(),
            Partitioner::Murmur2 => (murmur2(key) & 0x7fff_ffff) as i32 % count,
            Partitioner::Crc32 => (crc32(key) % count as u32) as i32,
        }
    }
}

fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The Java client's murmur2: seed 0x9747b28c, blocks of four bytes little-endian.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let (blocks, tail) = bytes.as_chunks::<4>();
    for block in blocks {
        let mut k = u32::from_le_bytes(*block).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        let last = tail.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte));
        hash = (hash ^ last).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| crc >> 8 ^ CRC32_TABLE[usize::from(crc as u8 ^ byte)])
}

const CRC32_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv1a_gives_the_published_values() {
        // The test suite of the FNV reference implementation.
        assert_eq!(fnv1a(b""), 0x811c_9dc5);
        assert_eq!(fnv1a(b"a"), 0xe40c_292c);
        assert_eq!(fnv1a(b"foobar"), 0xbf9c_f968);
    }

    #[test]
    fn murmur2_gives_the_java_clients_values() {
        // Apache Kafka, clients/src/test/java/org/apache/kafka/common/utils/UtilsTest.java
        let published: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, expected) in published {
            assert_eq!(murmur2(key) as i32, expected, "{}", key.escape_ascii());
        }
    }

    #[test]
    fn crc32_gives_the_published_check_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn sarama_rule_drops_the_sign_of_the_remainder_where_javas_clears_the_sign_bit() {
        // fnv1a("foobar") = 0xbf9cf968 = -1080231576 as a signed number; -1080231576 % 7 = -4.
        assert_eq!(Partitioner::SaramaCompat.partition(b"foobar", 7), 4);
        // fnv1a("a") = 0xe40c292c = -468965076; % 10 = -6.
        assert_eq!(Partitioner::SaramaCompat.partition(b"a", 10), 6);
        // murmur2("21") with the sign bit cleared is 1173551340.
        assert_eq!(Partitioner::Murmur2.partition(b"21", 1000), 340);
    }

    #[test]
    fn every_rule_stays_within_the_topic() {
        for partitioner in [Partitioner::SaramaCompat, Partitioner::Murmur2, Partitioner::Crc32] {
            for number in 0..10_000u32 {
                let partition = partitioner.partition(&number.to_be_bytes(), 7);
                assert!((0..7).contains(&partition), "{partitioner:?} sent {number} to {partition}");
            }
            assert_eq!(partitioner.partition(b"key", 0), 0);
        }
    }
}
