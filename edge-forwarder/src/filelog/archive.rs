//! Reads on in a log file that was compressed while it was unfinished.
//!
//! It is unpacked into a file without a name, from where it was left, so that all else sees a file like any other: memory does
//! not depend on its size, and its space is given back when it is closed.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use flate2::read::MultiGzDecoder;

use super::identity::FINGERPRINT_BYTES;

/// The first bytes of what is packed in the file, as far as a fingerprint looks.
pub(super) fn head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    unpacking(file)?.take(FINGERPRINT_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// What is packed in the file, as a file with the same offsets; below `from` there is only what makes it known. `room` is a
/// directory on a disk with room for it.
pub(super) fn unpacked(file: &File, from: u64, room: &Path) -> io::Result<File> {
    let mut packed = unpacking(file)?;
    let mut file = tempfile::tempfile_in(room)?;
    let head = from.min(FINGERPRINT_BYTES as u64);
    let copied = io::copy(&mut packed.by_ref().take(head), &mut file)?;
    let passed = io::copy(&mut packed.by_ref().take(from - head), &mut io::sink())?;
    file.seek(SeekFrom::Start(copied + passed))?;
    io::copy(&mut packed, &mut file)?;
    let end = file.stream_position()?;
    file.set_len(end)?;
    Ok(file)
}

fn unpacking(mut file: &File) -> io::Result<MultiGzDecoder<&File>> {
    file.seek(SeekFrom::Start(0))?;
    Ok(MultiGzDecoder::new(file))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, os::unix::fs::FileExt};

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn packed(parts: &[&[u8]]) -> (tempfile::TempDir, std::path::PathBuf) {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("0.log.gz");
        let mut bytes = Vec::new();
        for part in parts {
            let mut encoder = GzEncoder::new(&mut bytes, Compression::fast());
            encoder.write_all(part).unwrap();
            encoder.finish().unwrap();
        }
        fs::write(&path, bytes).unwrap();
        (room, path)
    }

    #[test]
    fn offsets_are_those_of_the_file_that_was_packed() {
        let (room, path) = packed(&[b"first\n", b"second\n"]);
        assert_eq!(head(&File::open(&path).unwrap()).unwrap(), b"first\nsecond\n");
        for from in 0..=13 {
            let file = unpacked(&File::open(&path).unwrap(), from, room.path()).unwrap();
            assert_eq!(file.metadata().unwrap().len(), 13);
            let mut whole = [0; 13];
            file.read_exact_at(&mut whole, 0).unwrap();
            assert_eq!(&whole, b"first\nsecond\n");
        }
    }

    #[test]
    fn what_was_read_is_not_unpacked_again_but_for_the_beginning() {
        let long: Vec<u8> = (0..10_000u32).map(|byte| byte as u8 | 1).collect();
        let (room, path) = packed(&[&long]);
        let file = unpacked(&File::open(&path).unwrap(), 5000, room.path()).unwrap();
        let mut read = vec![0; 10_000];
        file.read_exact_at(&mut read, 0).unwrap();
        assert_eq!(read[..FINGERPRINT_BYTES], long[..FINGERPRINT_BYTES]);
        assert_eq!(read[5000..], long[5000..]);
        assert!(read[FINGERPRINT_BYTES..5000].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn one_that_is_shorter_than_was_read_ends_where_it_ends() {
        let (room, path) = packed(&[b"short\n"]);
        assert_eq!(
            unpacked(&File::open(&path).unwrap(), 100, room.path()).unwrap().metadata().unwrap().len(),
            6
        );
    }

    #[test]
    fn damage_is_an_error() {
        let (room, path) = packed(&[b"line\n"]);
        fs::write(&path, &fs::read(&path).unwrap()[..12]).unwrap();
        assert!(unpacked(&File::open(&path).unwrap(), 0, room.path()).is_err());
    }
}
