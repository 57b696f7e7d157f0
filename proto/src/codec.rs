//! The codec of every service: prost, behind a look at what a message would become in memory.
//!
//! An empty element takes two bytes on the wire and up to hundreds in memory, so a limit on bytes
//! alone lets a request of 16 MiB take more than a gigabyte before anybody can count what is in it.

use std::marker::PhantomData;

use bytes::Buf;
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec as TonicCodec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic_prost::{ProstCodec, ProstDecoder};

use crate::v1;

/// What any message may become, in bytes: more than the fullest that is legal, 1,000 messages with
/// 32 attributes each.
const ALLOWED: usize = 8 << 20;
/// And so many bytes more for each byte of it.
const ALLOWED_PER_BYTE: usize = 4;
/// What an entry of a map takes: key, value, and the node of a B-tree that is half empty.
const MAP_ENTRY: usize = 128;
/// What a text takes beside its bytes: the allocation, and 24 bytes in a list of texts.
const TEXT: usize = 32;
/// What a number in a list takes at most.
const NUMBER: usize = 8;

/// What a message becomes when it is decoded.
pub trait Shaped {
    /// Its fields.
    const SHAPE: &'static Shape;
    /// Whether it is weighed; not what only nodes send, to nodes that know each other.
    const WEIGHED: bool = true;
}

/// The fields of a message by their number, from 1.
#[derive(Debug)]
pub struct Shape(&'static [Field]);

#[derive(Debug)]
enum Field {
    /// Takes nothing that the message itself does not have.
    Nothing,
    Text,
    Texts,
    Numbers,
    One(&'static Shape),
    /// Elements, of so many bytes each.
    Many(usize, &'static Shape),
}

include!(concat!(env!("OUT_DIR"), "/shapes.rs"));

/// prost, for messages that stay in proportion to their bytes.
///
/// What would take more than 8 MiB and four times its bytes is refused with `INVALID_ARGUMENT`
/// before anything is allocated for it. Looking costs 20 ns per message of 1 KiB in a batch
/// (measured beside other work on two cores; a test compares it with decoding).
#[derive(Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> TonicCodec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Shaped + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = SizedEncoder<T>;
    type Decoder = WeighingDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        SizedEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        WeighingDecoder(ProstCodec::<T, U>::raw_decoder(BufferSettings::default()))
    }
}

/// Makes room for the whole message first: a buffer that grows while a frame of 256 KiB is written
/// into it is copied again and again.
#[derive(Debug)]
pub struct SizedEncoder<T>(PhantomData<T>);

impl<T: Message> Encoder for SizedEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.reserve(item.encoded_len());
        item.encode_raw(buf);
        Ok(())
    }
}

/// Weighs, then decodes.
#[derive(Debug)]
pub struct WeighingDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default + Shaped> Decoder for WeighingDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if U::WEIGHED {
            // tonic hands over a message in one piece.
            weigh(buf.chunk(), U::SHAPE)?;
        }
        self.0.decode(buf)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

/// Why a message is not decoded.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    TooMuch,
    Malformed,
}

fn weigh(message: &[u8], shape: &Shape) -> Result<(), Status> {
    let allowed = ALLOWED + ALLOWED_PER_BYTE * message.len();
    let mut left = allowed;
    walk(message, shape, &mut left).map_err(|refused| match refused {
        Refused::TooMuch => Status::invalid_argument(format!(
            "the request has {} bytes and so many entries that it would take more than {allowed} \
             in memory: send fewer entries in one request",
            message.len()
        )),
        Refused::Malformed => {
            Status::internal("failed to decode the message: it is no message of roadstead.v1")
        }
    })
}

/// Takes what the elements of a message will weigh from what is `left`.
fn walk(mut message: &[u8], shape: &Shape, left: &mut usize) -> Result<(), Refused> {
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let number = (tag >> 3) as usize;
        // Of an unknown field nothing is kept.
        let known = shape.0.get(number.wrapping_sub(1));
        let field = known.unwrap_or(&Field::Nothing);
        match tag & 7 {
            0 => {
                varint(&mut message)?;
                if matches!(field, Field::Numbers) {
                    take(NUMBER, left)?;
                }
            }
            1 => skip_number(8, field, &mut message, left)?,
            2 => {
                let len = varint(&mut message)? as usize;
                let (inner, behind) = message.split_at_checked(len).ok_or(Refused::Malformed)?;
                message = behind;
                weigh_field(inner, field, left)?;
            }
            5 => skip_number(4, field, &mut message, left)?,
            // Groups: proto3 has none, and what is in them could not be told from the rest.
            _ => return Err(Refused::Malformed),
        }
    }
    Ok(())
}

fn weigh_field(inner: &[u8], field: &Field, left: &mut usize) -> Result<(), Refused> {
    match field {
        Field::Nothing => Ok(()),
        Field::Text if inner.is_empty() => Ok(()),
        Field::Text | Field::Texts => take(TEXT + inner.len(), left),
        // One byte each, at least.
        Field::Numbers => take(NUMBER.saturating_mul(inner.len()), left),
        Field::One(shape) => walk(inner, shape, left),
        Field::Many(size, shape) => {
            take(*size, left)?;
            walk(inner, shape, left)
        }
    }
}

fn skip_number(
    bytes: usize,
    field: &Field,
    message: &mut &[u8],
    left: &mut usize,
) -> Result<(), Refused> {
    *message = message.get(bytes..).ok_or(Refused::Malformed)?;
    match field {
        Field::Numbers => take(NUMBER, left),
        _ => Ok(()),
    }
}

fn take(bytes: usize, left: &mut usize) -> Result<(), Refused> {
    *left = left.checked_sub(bytes).ok_or(Refused::TooMuch)?;
    Ok(())
}

fn varint(message: &mut &[u8]) -> Result<u64, Refused> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = message.split_first().ok_or(Refused::Malformed)?;
        *message = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Refused::Malformed)
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
