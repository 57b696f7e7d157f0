//! Finds out who calls, before any service sees the call.

use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, Either, FutureExt, MapOk, TryFutureExt};
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::accounts::Accounts;
use super::connection::ConnectionInfo;
use super::status::{explained, to_status};
use crate::auth::token::TokenAuthenticator;
use crate::auth::{Action, Principal, Rule, authorize, rule};
use crate::gateway::ApiError;

/// How a listener knows its callers.
#[derive(Clone)]
pub enum Authenticator {
    /// It does not.
    Anonymous,
    /// By `ServiceAccount` tokens, each account with a bounded number of connections.
    Tokens(Arc<TokenAuthenticator>, Arc<Accounts>),
    /// By the certificate of the connection.
    Certificates,
}

impl<S> Layer<S> for Authenticator {
    type Service = Authenticated<S>;

    fn layer(&self, inner: S) -> Authenticated<S> {
        Authenticated {
            inner,
            authenticator: self.clone(),
        }
    }
}

/// Calls `inner` with the caller's [`Principal`] among the request's extensions.
///
/// What has no rule is not served; what the caller may not do at all is refused here. Rights to
/// one queue are decided where the queue is known. The first call that is let in proves the
/// connection; what is public proves nothing.
#[derive(Clone)]
pub struct Authenticated<S> {
    inner: S,
    authenticator: Authenticator,
}

type Refused<E> = Ready<Result<Response<Body>, E>>;
type Answered<F> = MapOk<F, fn(Response<Body>) -> Response<Body>>;

impl<S> Service<Request<Body>> for Authenticated<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<
        Either<Answered<S::Future>, Refused<S::Error>>,
        BoxFuture<'static, Result<Response<Body>, S::Error>>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let action = match rule(request.uri().path()) {
            None => return Either::Left(Either::Right(ready(Ok(unknown(&request))))),
            Some(Rule::Public) => return Either::Left(Either::Left(self.answer(request))),
            Some(Rule::Needs(action)) => action,
        };
        let known = match &self.authenticator {
            Authenticator::Anonymous => Principal::Anonymous,
            Authenticator::Certificates => by_certificate(&request),
            Authenticator::Tokens(tokens, accounts) => {
                let (tokens, accounts) = (Arc::clone(tokens), Arc::clone(accounts));
                // The service that was polled ready is the one to call; its clone stays here.
                let next = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, next);
                let call = async move {
                    let header = request.headers().get(AUTHORIZATION);
                    let header = header.map(HeaderValue::as_bytes);
                    let known = tokens.authenticate(header, address(&request)).await;
                    let admitted = known.and_then(|principal| {
                        count(&request, &accounts, &principal)?;
                        admit(&mut request, principal, action)
                    });
                    match admitted {
                        Err(error) => Ok(refusal(error)),
                        Ok(()) => inner.call(request).await.map(explain),
                    }
                };
                return Either::Right(call.boxed());
            }
        };
        Either::Left(match admit(&mut request, known, action) {
            Ok(()) => Either::Left(self.answer(request)),
            Err(error) => Either::Right(ready(Ok(refusal(error)))),
        })
    }
}

impl<S> Authenticated<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    fn answer(&mut self, request: Request<Body>) -> Answered<S::Future> {
        self.inner.call(request).map_ok(explain)
    }
}

/// Errors of the gRPC library come out as ours.
fn explain(response: Response<Body>) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Code::Ok => explained(status).into_http(),
        _ => response,
    }
}

fn admit(
    request: &mut Request<Body>,
    principal: Principal,
    action: Action,
) -> Result<(), ApiError> {
    authorize(&principal, action, None)?;
    if let Some(info) = request.extensions().get::<ConnectionInfo>() {
        info.proof.give();
    }
    request.extensions_mut().insert(principal);
    Ok(())
}

/// Counts the connection of a request among those of its caller.
fn count(
    request: &Request<Body>,
    accounts: &Arc<Accounts>,
    principal: &Principal,
) -> Result<(), ApiError> {
    let info = request.extensions().get::<ConnectionInfo>();
    info.map_or(Ok(()), |info| info.callers.admit(accounts, principal))
}

/// Where a request comes from.
fn address(request: &Request<Body>) -> IpAddr {
    let info = request.extensions().get::<ConnectionInfo>();
    info.map_or(Ipv4Addr::UNSPECIFIED.into(), |info| info.remote.ip())
}

fn by_certificate(request: &Request<Body>) -> Principal {
    let info = request.extensions().get::<ConnectionInfo>();
    let identity = info.and_then(|info| info.identity.as_ref());
    identity.map_or(Principal::Anonymous, |identity| identity.principal())
}

fn unknown(request: &Request<Body>) -> Response<Body> {
    let message = format!("{} is not served here", request.uri().path());
    refusal(ApiError::new(Code::Unimplemented, message))
}

fn refusal(error: ApiError) -> Response<Body> {
    to_status(error).into_http()
}
