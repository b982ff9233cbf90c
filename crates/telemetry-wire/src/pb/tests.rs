//! The reader and the writers at their edges; the whole is compared with prost in `tests/it`.

use super::*;

fn read(bytes: &[u8]) -> Result<Vec<(u32, Value<'_>)>, MalformedKind> {
    let mut reader = Reader::new(bytes);
    let mut fields = Vec::new();
    while let Some(field) = reader.next().map_err(|malformed| malformed.kind)? {
        fields.push((field.number, field.value));
    }
    Ok(fields)
}

#[test]
fn what_is_written_is_read_back() {
    let mut bytes = Vec::new();
    put_varint_field(&mut bytes, 1, 300);
    put_fixed64_field(&mut bytes, 2, u64::MAX);
    put_fixed32_field(&mut bytes, 3, 7);
    put_len_field(&mut bytes, (1 << 29) - 1, b"text");
    let expected = [
        (1, Value::Varint(300)),
        (2, Value::Fixed64(u64::MAX)),
        (3, Value::Fixed32(7)),
        ((1 << 29) - 1, Value::Len(b"text")),
    ];
    assert_eq!(read(&bytes), Ok(expected.to_vec()));
}

#[test]
fn sizes_computed_are_sizes_written() {
    for shift in 0..64 {
        for value in [1u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value), "{value}");
            assert_eq!(read_varint(&out), Ok((value, out.len())));
        }
    }
    for length in [0, 1, 127, 128, 16_383, 16_384] {
        let mut out = Vec::new();
        put_len_field(&mut out, 16, &vec![0; length]);
        assert_eq!(out.len(), len_field_size(16, length));
    }
}

#[test]
fn every_fault_has_its_name() {
    assert_eq!(read(&[0x08]), Err(MalformedKind::Truncated), "a varint without bytes");
    assert_eq!(read(&[0x09, 1, 2]), Err(MalformedKind::Truncated), "three of eight bytes");
    assert_eq!(read(&[0x0a, 5, 1]), Err(MalformedKind::Truncated), "one of five bytes");
    assert_eq!(read(&[0x00, 0]), Err(MalformedKind::InvalidFieldNumber), "number zero");
    assert_eq!(
        read(&[0x80, 0x80, 0x80, 0x80, 0x10]),
        Err(MalformedKind::InvalidFieldNumber),
        "a key of 33 bits"
    );
    assert_eq!(read(&[0x0e]), Err(MalformedKind::InvalidWireType));
    assert_eq!(read(&[0x0f]), Err(MalformedKind::InvalidWireType));
    assert_eq!(read(&[0x0c]), Err(MalformedKind::UnexpectedEndGroup));
    assert_eq!(read(&[0x0b, 0x14]), Err(MalformedKind::UnexpectedEndGroup), "the end of another group");
    assert_eq!(read(&[0x0b]), Err(MalformedKind::Truncated), "a group without end");
    let overflow = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
    assert_eq!(read(&overflow), Err(MalformedKind::VarintOverflow));
    let huge_length = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    assert_eq!(read(&huge_length), Err(MalformedKind::Truncated), "a length beyond memory");
}

#[test]
fn a_group_is_one_value_and_a_type_mismatch_names_the_field() {
    let mut reader = Reader::new(&[0x0b, 0x10, 1, 0x0c, 0x18, 5]);
    let group = reader.next().expect("well-formed").expect("a field");
    assert_eq!((group.number, group.value), (1, Value::Group(&[0x10, 1])));
    let field = reader.next().expect("well-formed").expect("a field");
    let mismatch = field.bytes().expect_err("a varint");
    assert_eq!((mismatch.offset, mismatch.kind), (4, MalformedKind::WireTypeMismatch(3)));
}

#[test]
fn repeated_values_end_after_an_error() {
    let bytes = [0x0a, 1, 7, 0x10, 1, 0x0a, 9];
    let mut values = Repeated::new(&bytes, 1, 5);
    assert_eq!(values.next(), Some(Ok(&[7u8][..])));
    assert!(matches!(values.next(), Some(Err(Malformed { kind: MalformedKind::Truncated, .. }))));
    assert_eq!(values.next(), None);
}
