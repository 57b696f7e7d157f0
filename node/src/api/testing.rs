//! Requests that no client of ours would send.

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message;
use roadstead_proto::v1::{SendResponse, SendStreamResponse};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Encodes as the bytes themselves.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Raw(pub Bytes);

impl Message for Raw {
    fn encode_raw(&self, buf: &mut impl bytes::BufMut) {
        buf.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        _: u32,
        _: prost::encoding::WireType,
        _: &mut impl bytes::Buf,
        _: prost::encoding::DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {}
}

/// Sends these bytes as a `SendRequest`.
pub async fn send_raw(channel: Channel, request: Raw) -> Result<SendResponse, Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client
        .ready()
        .await
        .map_err(|e| Status::unknown(e.to_string()))?;
    let path = PathAndQuery::from_static("/roadstead.v1.MessageService/Send");
    let codec = tonic_prost::ProstCodec::<Raw, SendResponse>::default();
    let answer = client.unary(Request::new(request), path, codec).await?;
    Ok(answer.into_inner())
}

/// Sends these bytes as the frames of a `SendStream`, and reads it to its end.
pub async fn stream_raw(channel: Channel, frames: Vec<Raw>) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client
        .ready()
        .await
        .map_err(|e| Status::unknown(e.to_string()))?;
    let path = PathAndQuery::from_static("/roadstead.v1.MessageService/SendStream");
    let codec = tonic_prost::ProstCodec::<Raw, SendStreamResponse>::default();
    let frames = Request::new(tokio_stream::iter(frames));
    let mut answers = client.streaming(frames, path, codec).await?.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}
