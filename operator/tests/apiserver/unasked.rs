//! Procedures that a node has and the operator does not ask for.

/// Calls that the operator does not make, as `async_trait` would write them.
macro_rules! unasked {
    ($($name:ident($request:ty) -> $answer:ty;)*) => {$(
        fn $name<'a, 'b>(
            &'a self,
            _: Request<$request>,
        ) -> Pin<Box<dyn Future<Output = Result<Response<$answer>, Status>> + Send + 'b>>
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(async { Err(Status::unimplemented("the operator does not ask for it")) })
        }
    )*};
}

pub(crate) use unasked;
