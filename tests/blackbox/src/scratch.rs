use std::{
    fs,
    path::{Path, PathBuf},
};

/// A folder of one test, removed at its end; kept when the test panics, so
/// that logs and databases can be looked at.
pub struct Scratch {
    folder: Option<tempfile::TempDir>,
}

impl Scratch {
    /// `name` shows in the folder's name.
    pub fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix(&format!("dapr-{name}-"))
            .tempdir()
            .expect("a folder for temporary files");
        Self { folder: Some(folder) }
    }

    pub fn path(&self) -> &Path {
        self.folder.as_ref().expect("present until dropped").path()
    }

    /// Writes `text` to the file `name`, creating folders on the way.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("inside the scratch folder")).expect("folder");
        fs::write(&path, text).expect("file in the scratch folder");
        path
    }

    /// A resources folder `name` with one file for every given manifest.
    pub fn resources(&self, name: &str, manifests: &[&str]) -> PathBuf {
        let folder = self.path().join(name);
        fs::create_dir_all(&folder).expect("folder");
        for (index, manifest) in manifests.iter().enumerate() {
            fs::write(folder.join(format!("{index}.yaml")), manifest).expect("manifest");
        }
        folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("files of the failed test: {}", folder.keep().display());
        }
    }
}
