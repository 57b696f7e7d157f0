//! The token that goes with every call.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// A projected token is rewritten by the kubelet well before it expires; looking this often is
/// early enough.
const REREAD: Duration = Duration::from_secs(15);

type Value = MetadataValue<Ascii>;

/// Adds `authorization: Bearer <token>` to each call, from a file that may be rewritten.
#[derive(Debug, Clone, Default)]
pub(crate) struct Auth(Option<Arc<TokenFile>>);

#[derive(Debug)]
struct TokenFile {
    path: PathBuf,
    cached: Mutex<Option<(Instant, Value)>>,
}

impl Auth {
    /// Calls carry the token in the file at `path`, when there is one.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self(path.map(|path| {
            Arc::new(TokenFile {
                path,
                cached: Mutex::new(None),
            })
        }))
    }
}

impl TokenFile {
    fn value(&self) -> Result<Value, Status> {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read_at, value)) = cached.as_ref()
            && read_at.elapsed() < REREAD
        {
            return Ok(value.clone());
        }
        let path = self.path.display();
        let text = std::fs::read_to_string(&self.path).map_err(|error| {
            Status::unauthenticated(format!(
                "cannot read the token {path}: {error}; mount a projected token with audience \
                 roadstead, or name its file"
            ))
        })?;
        let mut value: Value = format!("Bearer {}", text.trim()).parse().map_err(|_| {
            Status::unauthenticated(format!(
                "{path} does not hold a token: it is not plain text"
            ))
        })?;
        value.set_sensitive(true);
        *cached = Some((Instant::now(), value.clone()));
        Ok(value)
    }
}

impl Interceptor for Auth {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(file) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", file.value()?);
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_file_and_says_when_it_cannot() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let mut auth = Auth::new(Some(path.clone()));
        let refused = auth.call(Request::new(())).unwrap_err();
        assert!(
            refused.message().contains("cannot read the token"),
            "{refused}"
        );

        std::fs::write(&path, "abc\n").unwrap();
        let request = auth.call(Request::new(())).unwrap();
        assert_eq!(
            request.metadata().get("authorization").unwrap(),
            "Bearer abc"
        );
        std::fs::write(&path, "not\nseen yet").unwrap();
        assert!(
            auth.call(Request::new(())).is_ok(),
            "the cached one serves for a while"
        );
    }

    #[test]
    fn without_a_file_nothing_is_added() {
        let request = Auth::default().call(Request::new(())).unwrap();
        assert!(request.metadata().is_empty());
    }
}
