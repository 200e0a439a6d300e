//! Implements the model's traits of blobs and path records for [`LocalStore`], for callers that
//! accept any store. [`model::tree::Directories`] is implemented in `cas`.

use crate::scratch::TempRoot;
use crate::{LocalStore, StoreError};
use model::StorePath;
use model::blobs::{BlobError, Blobs};
use model::path_infos::{PathInfo, PathInfoError, PathInfos};
use model::tree::{Digest, Node, SizedDigest};
use std::io::{self, Read};

impl Blobs for LocalStore {
    fn contains(&self, digest: &Digest) -> Result<bool, BlobError> {
        match self.open_blob(digest) {
            Ok(_) => Ok(true),
            Err(StoreError::MissingBlob { .. }) => Ok(false),
            Err(error) => Err(BlobError::Access { digest: *digest, source: Box::new(error) }),
        }
    }

    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send + '_>, BlobError> {
        match self.open_blob(digest) {
            Ok(file) => Ok(Box::new(file)),
            Err(StoreError::MissingBlob { digest }) => Err(BlobError::Missing { digest }),
            Err(error) => Err(BlobError::Access { digest: *digest, source: Box::new(error) }),
        }
    }

    /// The collector keeps the blob while this process lives.
    fn write(&self, contents: &mut dyn Read) -> Result<SizedDigest, BlobError> {
        let mut watched = Watched { contents, failed: None };
        let mut write = || -> Result<SizedDigest, StoreError> {
            let _shared = self.lock_shared()?;
            let (digest, size) = self.stream_blob(&mut watched, false, &self.root().join("cas"))?;
            self.scratch.root(&TempRoot::Node(Node::File { digest, executable: false, size }))?;
            Ok(SizedDigest { digest, size_bytes: size })
        };
        match (write(), watched.failed) {
            (Ok(written), _) => Ok(written),
            (Err(_), Some(source)) => Err(BlobError::Contents { source }),
            (Err(error), None) => Err(BlobError::Write { source: Box::new(error) }),
        }
    }
}

/// Keeps the error of a reader apart from those of the store.
struct Watched<'a> {
    contents: &'a mut dyn Read,
    failed: Option<io::Error>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.contents.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.failed = Some(io::Error::new(error.kind(), error.to_string()));
            }
        })
    }
}

impl PathInfos for LocalStore {
    /// Computes the hash of the archive once, and records it with the path.
    fn info(&self, path: &StorePath) -> Result<Option<PathInfo>, PathInfoError> {
        let read = || -> Result<_, StoreError> {
            let Some(known) = self.path_info(path)? else { return Ok(None) };
            let (nar_hash, nar_size_bytes) = self.nar_info(path)?;
            let (path, node, references) = (known.path, known.node, known.references);
            Ok(Some(PathInfo { path, node, references, nar_hash, nar_size_bytes }))
        };
        read().map_err(|error| PathInfoError { path: path.clone(), source: Box::new(error) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::blobs::MemoryBlobs;
    use model::path_infos::MemoryPathInfos;
    use model::{HashAlgorithm, StorePathName, nar};
    use std::collections::BTreeSet;

    fn store() -> (tempfile::TempDir, LocalStore) {
        let root = tempfile::tempdir().unwrap();
        let store = LocalStore::open(root.path()).unwrap();
        (root, store)
    }

    /// The contract of [`Blobs`], which every implementation keeps.
    #[track_caller]
    fn keeps_blobs(blobs: &dyn Blobs) {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        for bytes in [&b""[..], b"text", &vec![7; 300_000]] {
            let digest = Digest::of(bytes);
            let missing = blobs.open(&digest).err().expect("nothing was written");
            assert!(matches!(missing, BlobError::Missing { digest: named } if named == digest));
            assert!(!blobs.contains(&digest).unwrap());
            for _ in 0..2 {
                let mut contents = bytes;
                let written = blobs.write(&mut contents).unwrap();
                assert_eq!(written, SizedDigest { digest, size_bytes: bytes.len() as u64 });
            }
            assert!(blobs.contains(&digest).unwrap());
            let mut read = Vec::new();
            blobs.open(&digest).unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, bytes);
        }
        let failed = blobs.write(&mut (&b"some"[..]).chain(Broken)).unwrap_err();
        assert!(matches!(failed, BlobError::Contents { source } if source.to_string() == "broken"));
        assert!(!blobs.contains(&Digest::of(b"some")).unwrap());
    }

    #[test]
    fn blobs_are_kept_by_stores_and_in_memory() {
        let (_root, store) = store();
        keeps_blobs(&store);
        keeps_blobs(&MemoryBlobs::default());
    }

    #[test]
    fn records_of_paths_are_those_of_their_archives() {
        let (_root, store) = store();
        let other = store.add_text(StorePathName::new("other").unwrap(), b"x", &BTreeSet::new()).unwrap();
        let references = BTreeSet::from([other.clone()]);
        let path =
            store.add_text(StorePathName::new("text").unwrap(), other.to_string().as_bytes(), &references).unwrap();
        let mut archive = Vec::new();
        nar::write_text(other.to_string().as_bytes(), &mut archive).unwrap();
        let expected = PathInfo {
            path: path.clone(),
            node: store.tree_of(&path).unwrap(),
            references,
            nar_hash: HashAlgorithm::Sha256.hash(&archive),
            nar_size_bytes: archive.len() as u64,
        };
        let memory = MemoryPathInfos::default();
        assert_eq!(memory.info(&path).unwrap(), None);
        memory.insert(expected.clone());
        for infos in [&store as &dyn PathInfos, &memory] {
            assert_eq!(infos.info(&path).unwrap().as_ref(), Some(&expected));
        }
        let unknown = StorePath::new([1; 20], StorePathName::new("unknown").unwrap());
        assert_eq!(store.info(&unknown).unwrap(), None);
    }
}
