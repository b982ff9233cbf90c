//! The pinned checksums of everything that is fetched.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// Refuses a file whose SHA-256 is not `expected` (lower-case hex).
pub(crate) fn verify(file: &Path, expected: &str) -> Result<()> {
    let found = sha256(file)?;
    if found == expected {
        return Ok(());
    }
    Err(Error::Checksum { file: file.to_path_buf(), expected: expected.to_owned(), found })
}

/// Refuses a folder that does not hold exactly the files of `list`, which is in the format of `sha256sum`.
pub(crate) fn verify_folder(folder: &Path, list: &str) -> Result<()> {
    let mut present = file_names(folder)?;
    let mut missing = Vec::new();
    for (expected, name) in entries(list) {
        match present.binary_search_by(|file| file.as_str().cmp(name)) {
            Ok(index) => {
                present.remove(index);
                verify(&folder.join(name), expected)?;
            }
            Err(_) => missing.push(name),
        }
    }
    if missing.is_empty() && present.is_empty() {
        return Ok(());
    }
    let difference = format!("missing [{}], not pinned [{}]", missing.join(" "), present.join(" "));
    Err(Error::Files { folder: folder.to_path_buf(), difference })
}

/// The pairs of checksum and file name in a list that `sha256sum` wrote.
pub(crate) fn entries(list: &str) -> impl Iterator<Item = (&str, &str)> {
    list.lines().filter_map(|line| line.split_once("  "))
}

/// The first 16 hex digits of the SHA-256 of `parts`: a key for what was made from them.
pub(crate) fn fingerprint(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut key = hex(&hasher.finalize());
    key.truncate(16);
    key
}

fn sha256(file: &Path) -> Result<String> {
    let what = || format!("read {}", file.display());
    let mut reader = File::open(file).map_err(Error::io(what()))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match reader.read(&mut buffer).map_err(Error::io(what()))? {
            0 => return Ok(hex(&hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn file_names(folder: &Path) -> Result<Vec<String>> {
    let what = || format!("list {}", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(what()))? {
        names.push(entry.map_err(Error::io(what()))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824  hello\n";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    #[test]
    fn pinned_files_are_accepted() {
        let folder = folder(&[("hello", "hello")]);
        verify_folder(folder.path(), HELLO).unwrap();
    }

    #[test]
    fn a_changed_file_is_refused_with_its_name_and_a_remedy() {
        let folder = folder(&[("hello", "hellp")]);
        let error = verify_folder(folder.path(), HELLO).unwrap_err();
        let text = error.to_string();
        assert!(matches!(&error, Error::Checksum { file, .. } if file.ends_with("hello")), "{text}");
        assert!(text.contains("/hello does not have its pinned checksum"), "{text}");
        assert!(text.contains("delete it and fetch again"), "{text}");
    }

    #[test]
    fn a_file_too_few_and_a_file_too_many_are_refused_by_name() {
        let folder = folder(&[("stranger", "hello")]);
        let text = verify_folder(folder.path(), HELLO).unwrap_err().to_string();
        assert!(text.contains("missing [hello], not pinned [stranger]"), "{text}");
    }
}
