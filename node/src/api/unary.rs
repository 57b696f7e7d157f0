//! Procedures with one request and one answer, all of one shape.

/// Implements procedures by the methods of the same name of what `$target` gives.
///
/// `BoxFuture` must be in scope. Written as `async_trait` would write them: that
/// attribute does not see into macros.
macro_rules! unary {
    (|$services:ident| $target:expr; $($method:ident($request:ty) -> $response:ty;)*) => {
        $(fn $method<'s, 'f>(
            &'s self,
            request: tonic::Request<$request>,
        ) -> BoxFuture<'f, Result<tonic::Response<$response>, tonic::Status>>
        where
            's: 'f,
            Self: 'f,
        {
            Box::pin(async move {
                let principal = crate::api::inbound::principal(&request)?;
                let $services = self;
                let reply = $target.$method(&principal, request.into_inner()).await;
                reply.map(tonic::Response::new).map_err(crate::api::status::to_status)
            })
        })*
    };
}

pub(super) use unary;
