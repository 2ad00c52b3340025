//! The bytes of files on their way in: one file each on the edge's own disk, named by our id and never by the customer's name.
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use protocol::FileId;
use runtime::durable::sync_folder;

/// The folder of all of them. Everything here blocks.
#[derive(Clone)]
pub(crate) struct Bodies {
    folder: PathBuf,
    /// So much of the disk stays free, in bytes.
    keep_free: u64,
}

impl Bodies {
    /// The folder under the edge's own, made where it is missing.
    pub(crate) fn open(data: &Path, keep_free: u64) -> io::Result<Self> {
        let folder = data.join("files");
        if !folder.exists() {
            fs::create_dir(&folder)?;
            sync_folder(data)?;
        }
        Ok(Bodies { folder, keep_free })
    }

    fn path(&self, id: FileId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    /// Whether the disk has room for so much more.
    pub(crate) fn has_room(&self, bytes: u64) -> io::Result<bool> {
        let disk = rustix::fs::statvfs(&self.folder)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        Ok(free >= self.keep_free.saturating_add(bytes))
    }

    /// Makes an empty file, durably; one that is there already stays.
    pub(crate) fn create(&self, id: FileId) -> io::Result<()> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path(id)) {
            Ok(file) => {
                file.sync_all()?;
                sync_folder(&self.folder)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Opens a file to go on at `offset`: what stands behind was never said to be there.
    pub(crate) fn append(&self, id: FileId, offset: u64) -> io::Result<File> {
        let mut file = OpenOptions::new().write(true).open(self.path(id))?;
        if file.metadata()?.len() < offset {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file is shorter than its row says",
            ));
        }
        file.set_len(offset)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(file)
    }

    /// Opens a file to read it.
    pub(crate) fn read(&self, id: FileId) -> io::Result<File> {
        File::open(self.path(id))
    }

    /// Makes one file of others, durably; of one alone it becomes another name.
    pub(crate) fn join(&self, id: FileId, parts: &[FileId]) -> io::Result<u64> {
        if let [part] = parts {
            self.remove(id)?;
            fs::hard_link(self.path(*part), self.path(id))?;
            sync_folder(&self.folder)?;
            return Ok(fs::metadata(self.path(id))?.len());
        }
        let mut whole =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.path(id))?;
        let mut len = 0;
        for part in parts {
            len += io::copy(&mut self.read(*part)?, &mut whole)?;
        }
        whole.sync_all()?;
        sync_folder(&self.folder)?;
        Ok(len)
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, id: FileId) -> io::Result<()> {
        match fs::remove_file(self.path(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// The length of a file; `None` where it is not there.
    pub(crate) fn len(&self, id: FileId) -> io::Result<Option<u64>> {
        match fs::metadata(self.path(id)) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every file that is here, by its id; what has another name is no work of ours and stays.
    pub(crate) fn all(&self) -> io::Result<Vec<FileId>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            if let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                found.push(id);
            }
        }
        Ok(found)
    }
}
