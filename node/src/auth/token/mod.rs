//! Kubernetes `ServiceAccount` tokens: who shows one.

mod cache;
mod review;
#[cfg(test)]
mod tests;
mod turns;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use ring::digest::{SHA256, digest};
use tokio::time::{Instant, timeout};
use tonic::Code;

use self::cache::{Cache, Found};
pub use self::review::{ApiServer, ApiServerError};
use self::turns::Turns;
use super::Principal;
use crate::gateway::ApiError;

/// The audience that a token must be for.
pub const AUDIENCE: &str = "roadstead";

/// Longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 16 * 1024;
/// How long one caller waits for a review, the queue for it included.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);

/// What the API server said of a token, or why it could not be asked.
pub(crate) type Verdict = Result<Option<Principal>, String>;
type Pending = Shared<BoxFuture<'static, Verdict>>;

/// Asks the API server who a token belongs to.
pub(crate) trait Reviewer: Send + Sync + 'static {
    /// `Ok(None)`: the token is not valid. The future may be given up at any time.
    fn review(self: Arc<Self>, token: String) -> BoxFuture<'static, Verdict>;
}

/// Finds out who shows a token, and remembers it for a while.
///
/// A token is asked for once however many calls show it at the same time. What was found holds for
/// 60 s, that a token is not valid for 10 s; what could not be found out is not remembered, but a
/// caller known within the last 5 minutes stays known while the API server cannot be asked. A
/// review that nobody waits for any more is given up.
pub struct TokenAuthenticator {
    reviewer: Arc<dyn Reviewer>,
    cache: Cache<Pending>,
    turns: Arc<Turns>,
    patience: Duration,
}

impl TokenAuthenticator {
    /// Asks this API server.
    pub fn new(server: ApiServer) -> Self {
        Self::with_reviewer(Arc::new(server), REVIEW_TIMEOUT)
    }

    pub(crate) fn with_reviewer(reviewer: Arc<dyn Reviewer>, patience: Duration) -> Self {
        Self {
            reviewer,
            cache: Cache::default(),
            turns: Arc::default(),
            patience,
        }
    }

    /// Who at this address shows this value of the `authorization` header.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` without a valid token, `UNAVAILABLE` when that cannot be found out.
    pub async fn authenticate(
        &self,
        header: Option<&[u8]>,
        address: IpAddr,
    ) -> Result<Principal, ApiError> {
        let token = bearer(header)?;
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        let now = Instant::now();
        let start = || self.start(token, address);
        let (review, stale) = match self.cache.find(key, now, start) {
            Found::Known(verdict) => return verdict.ok_or_else(not_valid),
            Found::Pending { review, stale } => (review, stale),
        };
        let verdict = Pending::clone(&review).await;
        self.cache.finish(key, &verdict, Instant::now(), &review);
        match (verdict, stale) {
            (Ok(Some(principal)), _) | (Err(_), Some(principal)) => Ok(principal),
            (Ok(None), _) => Err(not_valid()),
            (Err(why), None) => Err(ApiError::unavailable(format!(
                "the token cannot be checked now: {why}; try again"
            ))),
        }
    }

    fn start(&self, token: &str, address: IpAddr) -> Pending {
        let (reviewer, turns) = (Arc::clone(&self.reviewer), Arc::clone(&self.turns));
        let token = token.to_owned();
        let review = async move {
            let turn = turns.take(address).await.map_err(|e| e.to_string())?;
            let verdict = reviewer.review(token).await;
            drop(turn);
            verdict
        };
        let patience = self.patience;
        let bounded = timeout(patience, review).map(move |done| {
            done.unwrap_or_else(|_| Err(format!("the API server did not answer in {patience:?}")))
        });
        bounded.boxed().shared()
    }
}

fn bearer(header: Option<&[u8]>) -> Result<&str, ApiError> {
    let header = header.ok_or_else(|| {
        unauthenticated(format!(
            "no token: send `authorization: Bearer <token>` with a ServiceAccount token for the \
             audience {AUDIENCE} (a projected volume)"
        ))
    })?;
    let text = std::str::from_utf8(header).ok();
    let token = text
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, token)| {
            let plain = token.bytes().all(|byte| byte.is_ascii_graphic());
            scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && plain
        });
    match token {
        Some((_, token)) if token.len() <= MAX_TOKEN => Ok(token),
        _ => Err(unauthenticated(
            "the authorization header is not `Bearer <token>`".to_owned(),
        )),
    }
}

fn not_valid() -> ApiError {
    unauthenticated(format!(
        "the token is not valid here: it may have expired, or be for another audience than \
         {AUDIENCE}; read the file of the projected volume again"
    ))
}

fn unauthenticated(message: String) -> ApiError {
    ApiError::new(Code::Unauthenticated, message)
}
