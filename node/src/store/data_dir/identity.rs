//! What the file `identity` holds, and its bytes.

use roadstead_core::catalog::Boot;

use crate::raft::types::NodeId;
use crate::store::codec::Take;
use crate::store::failure::Damage;

const VERSION: u8 = 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub node: NodeId,
    pub boot: Boot,
    pub clean: bool,
    pub cluster: Option<String>,
    pub members: Vec<String>,
    pub damage: Option<Damage>,
    pub replaces: Option<NodeId>,
}

impl Identity {
    /// Of a directory that has never been used.
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            boot: Boot::default(),
            clean: true,
            cluster: None,
            members: Vec::new(),
            damage: None,
            replaces: None,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.node.to_le_bytes());
        out.push(u8::from(self.clean));
        out.extend_from_slice(&self.boot.first().to_le_bytes());
        out.push(self.boot.nonces().len() as u8);
        for nonce in self.boot.nonces() {
            out.extend_from_slice(&nonce.to_le_bytes());
        }
        put_text(&mut out, self.cluster.as_deref().unwrap_or_default());
        out.push(self.members.len() as u8);
        for member in &self.members {
            put_text(&mut out, member);
        }
        out.push(u8::from(self.damage.is_some()));
        if let Some(damage) = &self.damage {
            put_text(&mut out, &damage.file);
            out.extend_from_slice(&damage.offset.to_le_bytes());
            put_text(&mut out, &damage.what);
        }
        // No node has the id 0.
        out.extend_from_slice(&self.replaces.unwrap_or(0).to_le_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut take = Take(body);
        if take.u8()? != VERSION {
            return None;
        }
        let node = take.u64()?;
        let clean = take.flag()?;
        let (first, starts) = (take.u64()?, take.u8()?);
        let nonces = (0..starts).map(|_| take.u64()).collect::<Option<_>>()?;
        let cluster = take_text(&mut take)?;
        let count = take.u8()?;
        let members = (0..count)
            .map(|_| take_text(&mut take))
            .collect::<Option<_>>()?;
        let damage = if take.flag()? {
            Some(Damage {
                file: take_text(&mut take)?,
                offset: take.u64()?,
                what: take_text(&mut take)?,
            })
        } else {
            None
        };
        let replaces = take.u64()?;
        take.0.is_empty().then_some(Self {
            node,
            boot: Boot::new(first, nonces),
            clean,
            cluster: Some(cluster).filter(|cluster| !cluster.is_empty()),
            members,
            damage,
            replaces: Some(replaces).filter(|node| *node != 0),
        })
    }
}

/// A text of at most 65,535 bytes with its length.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
}

fn take_text(take: &mut Take<'_>) -> Option<String> {
    let length = take.u16()?;
    let bytes = take.bytes(usize::from(length))?;
    std::str::from_utf8(bytes).ok().map(ToOwned::to_owned)
}
