//! Reading the journal after a start: what is whole is taken, a torn end is cut, the rest is
//! damage.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::frame::{ALIGN, FRAME_HEADER, FrameHeader};
use super::log::Place;
use super::queue::{Group, Queue};
use super::record::{self, Decoded};
use super::segments::{DIR, Segments, Slot, Used};
use super::tail::Tail;
use super::writer::{Position, Writer};
use super::{Inner, Journal};
use crate::raft::types::GroupId;
use crate::store::disk::Disk;
use crate::store::failure::Damage;
use crate::store::rows::Around;
use crate::store::{StoreError, StoreOptions};

/// Distance between the last frame before a start and the first one after it: what a torn frame
/// left on disk can never be taken for a part of a later one.
const FRAME_GAP: u64 = 1 << 16;

/// A file, not read as long as it need not be: the journal may be larger than memory.
struct File {
    slot: Slot,
    length: usize,
}

impl File {
    fn open(disk: &dyn Disk, name: &str) -> Result<Self, StoreError> {
        let opened = || {
            let file = disk.open(name)?;
            let length = file.len()? as usize;
            Ok(Self {
                slot: Slot {
                    name: name.to_owned(),
                    file,
                },
                length,
            })
        };
        opened().map_err(failed(&format!("opening {name}")))
    }

    fn read(&self, length: usize) -> Result<Bytes, StoreError> {
        let mut buffer = vec![0; length.min(self.length)];
        let read = self.slot.file.read_exact_at(&mut buffer, 0);
        read.map_err(failed(&format!("reading {}", self.slot.name)))?;
        Ok(buffer.into())
    }

    /// The header of the segment, if the file begins with a whole frame that is one.
    fn head(&self) -> Result<Option<FrameHeader>, StoreError> {
        let Some(header) = FrameHeader::decode(&self.read(FRAME_HEADER)?).filter(|h| h.head) else {
            return Ok(None);
        };
        Ok(whole(&self.read(header.size())?, 0, &header)
            .is_ok()
            .then_some(header))
    }
}

fn failed(what: &str) -> impl FnOnce(std::io::Error) -> StoreError + use<> {
    let what = what.to_owned();
    move |source| StoreError::Io { what, source }
}

struct Replay {
    groups: BTreeMap<GroupId, Arc<Group>>,
    last_frame: u64,
    /// Where the frames of each segment end.
    ends: BTreeMap<u32, u32>,
}

/// Opens the journal. Blocks while it reads all of it.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    around: &Around,
    options: &StoreOptions,
) -> Result<(Journal, Writer), StoreError> {
    disk.create_dir(DIR)
        .map_err(failed("creating the journal's directory"))?;
    let mut used = BTreeMap::new();
    let mut strays = Vec::new();
    for name in disk
        .list(DIR)
        .map_err(failed("listing the journal's directory"))?
    {
        let name = format!("{DIR}/{name}");
        let file = File::open(&*disk, &name)?;
        match file.head()? {
            Some(header) => drop(used.insert(header.segment as u32, (header, file))),
            None => strays.push(file),
        }
    }
    let mut replay = Replay {
        groups: BTreeMap::new(),
        last_frame: 0,
        ends: BTreeMap::new(),
    };
    let nonce = used
        .values()
        .next_back()
        .map_or(options.nonce, |(header, _)| header.nonce);
    let end = replay.chain(&used, nonce)?;
    replay.check_strays(&strays, nonce)?;
    replay.check_holes(&used)?;
    let newest = used.keys().next_back().copied();
    let bytes = u32::try_from(end.1).unwrap_or(u32::MAX);
    let segment = newest.and_then(|n| used.get(&n).map(|(_, file)| (n, file.slot.clone())));
    let at = Position {
        nonce,
        segment: segment.filter(|_| bytes == options.segment_bytes),
        newest: newest.unwrap_or(0),
        offset: end.0 as u32,
        before: replay.last_frame,
        next: replay.last_frame + FRAME_GAP,
    };
    // Files of another size are left to be freed: used again they would break the arithmetic.
    let fits = |file: &File| file.length == options.segment_bytes as usize;
    let spare: VecDeque<Slot> = strays
        .iter()
        .filter(|f| fits(f))
        .map(|f| f.slot.clone())
        .collect();
    for file in strays.iter().filter(|file| !fits(file)) {
        disk.remove(&file.slot.name)
            .map_err(failed(&format!("removing {}", file.slot.name)))?;
    }
    let used = used
        .into_iter()
        .map(|(number, (_, file))| {
            let (slot, end) = (file.slot, replay.ends.get(&number).map_or(0, |end| *end));
            (number, Used { slot, end })
        })
        .collect();
    let segments = Segments::new(disk, options.segment_bytes, used, spare);
    segments.count_in(&around.metrics);
    let inner = Arc::new(Inner {
        nonce,
        groups: Mutex::new(replay.groups),
        queue: Arc::new(Queue::default()),
        segments: Arc::new(segments),
        tail: Arc::new(Tail::new(options.tail_bytes)),
        failure: around.failure.clone(),
        metrics: around.metrics.clone(),
    });
    Ok((
        Journal(inner.clone()),
        Writer::new(inner, around.reserve.clone(), at),
    ))
}

/// Checks a frame's records. Returns them with their offsets in the file.
pub(super) fn whole(
    bytes: &Bytes,
    at: usize,
    header: &FrameHeader,
) -> Result<Vec<(usize, Decoded)>, (usize, String)> {
    let end = at + FRAME_HEADER + header.length as usize;
    if end > bytes.len() {
        return Err((at, "the frame reaches beyond the end of the file".into()));
    }
    let frame = bytes.slice(..end);
    let mut offset = at + FRAME_HEADER;
    let mut records = Vec::new();
    while offset < end {
        let decoded = record::decode(&frame, offset, Some(header.frame));
        let decoded = decoded.map_err(|what| (offset, what))?;
        let size = decoded.size;
        records.push((offset, decoded));
        offset += size;
    }
    if records.len() == header.records as usize {
        Ok(records)
    } else {
        Err((
            at,
            format!("{} records instead of {}", records.len(), header.records),
        ))
    }
}

fn damage(file: &File, offset: usize, what: impl Into<String>) -> StoreError {
    let (file, offset) = (file.slot.name.clone(), offset as u64);
    StoreError::Damage(Damage {
        file,
        offset,
        what: what.into(),
    })
}

impl Replay {
    /// Takes all frames in order. Returns where the next one goes and the size of that file.
    fn chain(
        &mut self,
        used: &BTreeMap<u32, (FrameHeader, File)>,
        nonce: u64,
    ) -> Result<(usize, usize), StoreError> {
        let mut previous: Option<u32> = None;
        let mut at = 0;
        let mut size = 0;
        // Where and why the segment before ended, and whether that is all right.
        let mut ended = (0, String::new());
        for (number, (head, file)) in used {
            if let Some((before, (_, old))) = previous.and_then(|n| used.get_key_value(&n)) {
                if before + 1 != *number {
                    let text = format!("segment {} is missing before segment {number}", before + 1);
                    return Err(damage(file, 0, text));
                }
                if head.before != self.last_frame {
                    return Err(damage(old, ended.0, ended.1));
                }
            } else {
                self.last_frame = head.before;
            }
            (at, size) = (0, file.length);
            let bytes = file.read(file.length)?;
            ended = loop {
                match self.frame(&bytes, at, nonce) {
                    Ok(taken) => at += taken,
                    Err(why) => break why,
                }
            };
            self.ends.insert(*number, at as u32);
            self.check_rest((file, &bytes), at + ALIGN, &ended, nonce)?;
            previous = Some(*number);
        }
        Ok((at, size))
    }

    /// Takes the frame at `at`, or says why there is none.
    fn frame(&mut self, bytes: &Bytes, at: usize, nonce: u64) -> Result<usize, (usize, String)> {
        let rest = bytes.get(at..).unwrap_or_default();
        let header = FrameHeader::decode(rest).ok_or((at, "no frame begins here".to_owned()))?;
        if header.nonce != nonce || header.before != self.last_frame {
            return Err((at, "the frame that begins here is an old one".into()));
        }
        for (offset, decoded) in whole(bytes, at, &header)? {
            let group = self.groups.entry(decoded.group).or_insert_with(|| {
                Arc::new(Group {
                    id: decoded.group,
                    log: Mutex::default(),
                })
            });
            let (offset, size) = (offset as u32, decoded.size as u32);
            let place = Place {
                segment: header.segment as u32,
                offset,
                size,
            };
            group.log().replay(&decoded.record, place);
        }
        self.last_frame = header.frame;
        Ok(header.size())
    }

    /// Nothing newer may follow where the frames of a file end.
    fn check_rest(
        &self,
        (file, bytes): (&File, &Bytes),
        from: usize,
        ended: &(usize, String),
        nonce: u64,
    ) -> Result<(), StoreError> {
        for at in (from..bytes.len()).step_by(ALIGN) {
            let header = FrameHeader::decode(&bytes[at..]);
            if header.is_some_and(|h| h.nonce == nonce && h.frame > self.last_frame) {
                return Err(damage(
                    file,
                    ended.0,
                    format!("{} before a newer frame", ended.1),
                ));
            }
        }
        Ok(())
    }

    /// A file whose head cannot be read must not hold anything newer than what was read, but for
    /// the head itself, which may have been torn.
    fn check_strays(&self, strays: &[File], nonce: u64) -> Result<(), StoreError> {
        for file in strays {
            let bytes = file.read(file.length)?;
            let why = (0, "no segment begins here".to_owned());
            self.check_rest((file, &bytes), ALIGN, &why, nonce)?;
        }
        Ok(())
    }

    /// Every entry that Raft still has must have been found.
    fn check_holes(&self, used: &BTreeMap<u32, (FrameHeader, File)>) -> Result<(), StoreError> {
        for group in self.groups.values() {
            let log = group.log();
            let needs = log.first_index() < log.next_index();
            if needs
                && log
                    .first_place()
                    .is_none_or(|first| first > log.first_index())
            {
                let text = format!(
                    "entry {} of group {} is missing",
                    log.first_index(),
                    group.id
                );
                let Some((_, file)) = used.values().next() else {
                    continue;
                };
                return Err(damage(file, 0, text));
            }
        }
        Ok(())
    }
}
