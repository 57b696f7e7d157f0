//! Requests that no client of ours would send.

use std::future::poll_fn;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http_body_util::StreamBody;
use hyper::body::Frame;
use prost::Message;
use roadstead_proto::v1::{SendResponse, SendStreamResponse};
use tokio_stream::StreamExt;
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tower::Service;

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

/// Calls a procedure of the message service with one message of `declared` bytes, of which `sent`
/// are sent and the rest never; gives how the call ends.
pub async fn half_sent(
    channel: Channel,
    procedure: &str,
    declared: u32,
    sent: usize,
) -> Result<(), Status> {
    static CHUNK: [u8; 16 << 10] = [10; 16 << 10];
    let mut left = sent;
    let chunks = std::iter::from_fn(move || {
        let next = left.min(CHUNK.len());
        left -= next;
        (next > 0).then(|| Bytes::from_static(&CHUNK[..next]))
    });
    let header = Bytes::from([&[0][..], &declared.to_be_bytes()].concat());
    let frames = std::iter::once(header).chain(chunks);
    let frames = frames.map(|bytes| Ok::<_, Status>(Frame::data(bytes)));
    let frames = tokio_stream::iter(frames).chain(tokio_stream::pending());
    let path = format!("/roadstead.v1.MessageService/{procedure}");
    end_of(call(channel, &path, Body::new(StreamBody::new(frames))).await?).await
}

/// Reads an answer to its end.
pub async fn end_of(answer: Answer) -> Result<(), Status> {
    let (parts, body) = answer.into_parts();
    let collected = http_body_util::BodyExt::collect(body).await?;
    let ends = [Some(&parts.headers), collected.trailers()];
    match ends.into_iter().flatten().find_map(Status::from_header_map) {
        Some(status) if status.code() != tonic::Code::Ok => Err(status),
        _ => Ok(()),
    }
}

/// Calls a procedure with this body; the answer is as far as it has been read.
pub async fn call(mut channel: Channel, path: &str, body: Body) -> Result<Answer, Status> {
    let request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .map_err(|error| Status::unknown(error.to_string()))?;
    let gone = |error: tonic::transport::Error| Status::unknown(error.to_string());
    poll_fn(|cx| channel.poll_ready(cx)).await.map_err(gone)?;
    channel.call(request).await.map_err(gone)
}

/// An answer whose body may be left unread.
pub type Answer = http::Response<Body>;
