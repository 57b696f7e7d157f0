//! Reading a segment once more while the journal is in use, from the disk itself.
//!
//! Only frames that were synced are read, so neither what is being written nor what a power cut
//! tore is ever looked at. A segment that is used again meanwhile is told by its number, which has
//! another file then, or none.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use super::frame::{FRAME_HEADER, FrameHeader};
use super::recover::whole;
use super::segments::{Segments, Slot};
use crate::store::disk::UncachedFile;
use crate::store::failure::Damage;

/// Bytes read at a time.
const PIECE: u32 = 256 << 10;

/// How often a place is read before it counts as damaged: a cable may err once.
const LOOKS: u32 = 3;

/// One segment, from its first byte to the last that was synced when the check began. Holds at
/// most one frame and one piece in memory.
pub(crate) struct SegmentCheck {
    segments: Arc<Segments>,
    nonce: u64,
    number: u32,
    slot: Slot,
    file: Box<dyn UncachedFile>,
    end: u32,
    /// Where the first frame begins that was not found whole yet.
    at: u32,
    /// What was read from there on.
    buffer: BytesMut,
    /// Number of the frame before it.
    before: Option<u64>,
    looks: u32,
}

/// What one step has found.
#[derive(Debug)]
pub(crate) enum Checked {
    /// Bytes were read, which took the disk a time; they are as they were written so far.
    Read(usize, Duration),
    /// All of the segment is as it was written.
    Whole,
    /// The segment was recycled.
    Gone,
    /// What was read is wrong: to be read again after a while.
    Doubtful(Damage),
    /// What was read is wrong each time.
    Damaged(Damage),
    /// It cannot be read, for a reason that says nothing about what is on disk.
    Unread(io::Error),
}

impl SegmentCheck {
    pub(super) fn begin(
        segments: Arc<Segments>,
        nonce: u64,
        (number, slot, end): (u32, Slot, u32),
    ) -> io::Result<Self> {
        let file = segments.open_uncached(&slot)?;
        Ok(Self {
            segments,
            nonce,
            number,
            slot,
            file,
            end,
            at: 0,
            buffer: BytesMut::new(),
            before: None,
            looks: 0,
        })
    }

    /// Reads the next piece. Blocks.
    pub(crate) fn step(&mut self) -> Checked {
        let start = self.buffer.len();
        let from = self.at + start as u32;
        if from >= self.end {
            return Checked::Whole;
        }
        let size = (self.end - from).min(PIECE) as usize;
        self.buffer.resize(start + size, 0);
        let read = self
            .file
            .read_exact_at(&mut self.buffer[start..], u64::from(from));
        let wrong = match read {
            Ok(took) => match self.take_frames() {
                Ok(()) => return Checked::Read(size, took),
                Err(wrong) => wrong,
            },
            Err(error) if tells_damage(&error) => (from, format!("it cannot be read: {error}")),
            Err(_) if !self.is_here() => return Checked::Gone,
            Err(error) => return Checked::Unread(error),
        };
        self.doubt(wrong)
    }

    /// Takes the frames that are read whole off the buffer, or says where one is wrong.
    fn take_frames(&mut self) -> Result<(), (u32, String)> {
        while self.buffer.len() >= FRAME_HEADER {
            let wrong = |what: &str| (self.at, what.to_owned());
            let header = FrameHeader::decode(&self.buffer)
                .ok_or_else(|| wrong("no frame begins here, where one was written"))?;
            let is_next = self.before.is_none_or(|before| before == header.before);
            let is_ours = header.nonce == self.nonce && header.segment == u64::from(self.number);
            if !is_next || !is_ours || header.head != (self.at == 0) {
                return Err(wrong("another frame is where one was written"));
            }
            let size = header.size();
            if size > (self.end - self.at) as usize {
                return Err(wrong("the frame reaches beyond what was written"));
            }
            if self.buffer.len() < size {
                break;
            }
            let frame = self.buffer.split_to(size).freeze();
            whole(&frame, 0, &header).map_err(|(at, what)| (self.at + at as u32, what))?;
            self.at += size as u32;
            self.before = Some(header.frame);
            self.looks = 0;
        }
        Ok(())
    }

    fn doubt(&mut self, (offset, what): (u32, String)) -> Checked {
        // Asked after the read: a file is written again only once its segment is gone.
        if !self.is_here() {
            return Checked::Gone;
        }
        self.buffer.clear();
        self.looks += 1;
        let damage = Damage {
            file: self.slot.name.clone(),
            offset: u64::from(offset),
            what,
        };
        if self.looks < LOOKS {
            Checked::Doubtful(damage)
        } else {
            Checked::Damaged(damage)
        }
    }

    fn is_here(&self) -> bool {
        let now = self.segments.get(self.number);
        now.is_some_and(|slot| slot.name == self.slot.name)
    }
}

/// The disk has lost the place, or the file is shorter than what was synced.
fn tells_damage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
        || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}
