//! The trees, the operations on them, and values that are too large for one.

use std::ops::Deref;

use ::sled::{Db, IVec, Tree};

use super::codec::FORMAT;
use super::fault::Fault;

/// The trees, each with its keys. Values begin with the format byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Table {
    /// tenant ‖ event.
    Events,
    /// tenant ‖ event → those it is owed to, where they are many.
    Owed,
    /// table ‖ key ‖ number → a piece of a large value.
    Chunks,
    /// tenant ‖ delivery.
    Deliveries,
    /// subscription ‖ lane ‖ place ‖ delivery → tenant.
    Queue,
    /// tenant ‖ delivery ‖ number ‖ attempt.
    Attempts,
    /// tenant ‖ delivery → the frozen output.
    Frozen,
    /// What [`Ids`](Self::Ids) are before version 7: tenant ‖ SHA-256 of scope and id.
    Dedupe,
    /// kind ‖ ids → JSON.
    Config,
    /// tenant ‖ subscription ‖ revision → JSON.
    Revisions,
    /// words → the store's own state.
    Meta,
    /// tenant ‖ event ‖ number → deliveries still to be written.
    Expansions,
    /// tenant ‖ delivery: begun and not settled.
    Begun,
    /// commit number modulo [`super::open::RECENT`] → the events of that commit.
    Recent,
    /// tenant → whether all of it has been removed.
    Gone,
    /// tenant ‖ event ‖ delivery → subscription: what replays have added to an event's own list.
    Added,
    /// tenant ‖ plugin → the bytes that were uploaded.
    Components,
    /// A [client's id](super::keys::ClientId) → the event that came with it.
    Ids,
}

impl Table {
    pub(super) const ALL: [(Self, &'static str); 18] = [
        (Self::Events, "events"),
        (Self::Owed, "owed"),
        (Self::Chunks, "chunks"),
        (Self::Deliveries, "deliveries"),
        (Self::Queue, "queue"),
        (Self::Attempts, "attempts"),
        (Self::Frozen, "frozen"),
        (Self::Dedupe, "dedupe"),
        (Self::Config, "config"),
        (Self::Revisions, "revisions"),
        (Self::Meta, "meta"),
        (Self::Expansions, "expansions"),
        (Self::Begun, "begun"),
        (Self::Recent, "recent"),
        (Self::Gone, "gone"),
        (Self::Added, "added"),
        (Self::Components, "components"),
        (Self::Ids, "ids"),
    ];

    /// The version of the schema that brought it.
    pub(super) fn since(self) -> u32 {
        match self {
            Self::Added => 3,
            Self::Components => 4,
            Self::Ids => 7,
            _ => 1,
        }
    }

    /// What the tree is called.
    pub(super) fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// One change of one key.
#[derive(Debug, Clone)]
pub(super) struct Op {
    pub(super) table: Table,
    pub(super) key: IVec,
    /// `None` removes it.
    pub(super) value: Option<IVec>,
}

impl Op {
    pub(super) fn put(table: Table, key: &[u8], value: impl Into<IVec>) -> Self {
        Self { table, key: key.into(), value: Some(value.into()) }
    }

    pub(super) fn remove(table: Table, key: &[u8]) -> Self {
        Self { table, key: key.into(), value: None }
    }

    /// What removes what this one puts.
    pub(super) fn undone(&self) -> Self {
        Self { table: self.table, key: self.key.clone(), value: None }
    }

    pub(super) fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, |value| value.len())
    }
}

/// The largest value that is kept whole, and the size of the pieces of larger ones.
///
/// sled writes a leaf of up to 17 values as one message, and a message over 131,000 bytes as a file of its
/// own that it never removes: pieces of 64 KB left 133 such files after 600 had been written and removed,
/// pieces of up to 8,000 bytes none. So 17 pieces and their keys must fit.
pub(super) const CHUNK: usize = 6 * 1024;

/// The first byte of a value whose pieces are in [`Table::Chunks`]; then their number in four bytes and the
/// [`fingerprint`] of the whole in eight.
const IN_PIECES: u8 = FORMAT | 0x80;

/// Tells whether pieces belong together: they are read one by one, and a commit may come in between. That of more bytes
/// is made from that of what is before them; of nothing it is [`EMPTY`].
fn fingerprint(before: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(before, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

const EMPTY: u64 = 0xcbf2_9ce4_8422_2325;

fn chunk_key(table: Table, key: &[u8], number: u32) -> Vec<u8> {
    let mut chunk = Vec::with_capacity(key.len() + 5);
    chunk.push(table as u8);
    chunk.extend_from_slice(key);
    chunk.extend_from_slice(&number.to_be_bytes());
    chunk
}

/// Puts a value of any size; `value` begins with the format byte.
pub(super) fn put_large(ops: &mut Vec<Op>, table: Table, key: &[u8], value: &[u8]) {
    if value.len() <= CHUNK {
        ops.push(Op::put(table, key, value));
        return;
    }
    let mut cutter = Cutter::new(table, key);
    ops.extend(value.chunks(CHUNK).map(|piece| cutter.piece(piece)));
    ops.push(cutter.head());
}

/// Puts a value of any size piece by piece, for whoever does not want all of it twice.
pub(super) struct Cutter<'a> {
    table: Table,
    key: &'a [u8],
    pieces: u32,
    fingerprint: u64,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(table: Table, key: &'a [u8]) -> Self {
        Self { table, key, pieces: 0, fingerprint: EMPTY }
    }

    /// The next piece, of at most [`CHUNK`] bytes; the first begins with the format byte.
    pub(super) fn piece(&mut self, bytes: &[u8]) -> Op {
        let op = Op::put(Table::Chunks, &chunk_key(self.table, self.key, self.pieces), bytes);
        self.pieces += 1;
        self.fingerprint = fingerprint(self.fingerprint, bytes);
        op
    }

    /// What says that all of it is there.
    pub(super) fn head(&self) -> Op {
        let mut head = [IN_PIECES; 13];
        head[1..5].copy_from_slice(&self.pieces.to_be_bytes());
        head[5..].copy_from_slice(&self.fingerprint.to_be_bytes());
        Op::put(self.table, self.key, &head[..])
    }
}

/// How many pieces the stored form of a value has; 0 if it is whole.
pub(super) fn pieces(stored: &[u8]) -> u32 {
    match stored.split_first() {
        Some((&IN_PIECES, rest)) => rest.first_chunk().map_or(0, |count| u32::from_be_bytes(*count)),
        _ => 0,
    }
}

/// Removes a value of any size, given its stored form.
pub(super) fn remove_large(ops: &mut Vec<Op>, table: Table, key: &[u8], stored: &[u8]) {
    for number in 0..pieces(stored) {
        ops.push(Op::remove(Table::Chunks, &chunk_key(table, key, number)));
    }
    ops.push(Op::remove(table, key));
}

/// Removes all that may be there of a value of any size, also if its pieces are not all there yet.
pub(super) fn remove_remains(tables: &Tables, ops: &mut Vec<Op>, table: Table, key: &[u8]) -> Result<(), Fault> {
    remove_some(tables, ops, table, key, usize::MAX).map(drop)
}

/// The same of at most `limit` pieces. Says whether that is all: only then the value itself goes.
pub(super) fn remove_some(
    tables: &Tables,
    ops: &mut Vec<Op>,
    table: Table,
    key: &[u8],
    limit: usize,
) -> Result<bool, Fault> {
    let first = chunk_key(table, key, 0);
    for (number, pair) in tables.tree(Table::Chunks).scan_prefix(&first[..=key.len()]).enumerate() {
        if number >= limit {
            return Ok(false);
        }
        ops.push(Op::remove(Table::Chunks, &pair?.0));
    }
    ops.push(Op::remove(table, key));
    Ok(true)
}

/// The bytes of a value, as sled has them or put together.
pub(super) enum Bytes {
    Whole(IVec),
    Joined(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Joined(bytes) => bytes,
        }
    }
}

/// The open trees.
pub(super) struct Tables {
    pub(super) db: Db,
    trees: Vec<Tree>,
}

impl Tables {
    /// Opens every tree of an open database.
    pub(super) fn open(db: Db) -> Result<Self, Fault> {
        let trees = Table::ALL.iter().map(|(_, name)| db.open_tree(name)).collect::<Result<_, _>>()?;
        Ok(Self { db, trees })
    }

    /// A tree.
    pub(super) fn tree(&self, table: Table) -> &Tree {
        &self.trees[table as usize]
    }

    /// What is stored under a key: the value, or that it is in pieces.
    pub(super) fn stored(&self, table: Table, key: &[u8]) -> Result<Option<IVec>, Fault> {
        Ok(self.tree(table).get(key)?)
    }

    /// A value of any size.
    pub(super) fn load(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        match self.stored(table, key)? {
            Some(stored) => self.whole(table, key, stored),
            None => Ok(None),
        }
    }

    /// The whole of a value whose stored form has been read; `None` if it has been removed meanwhile.
    pub(super) fn whole(&self, table: Table, key: &[u8], mut stored: IVec) -> Result<Option<Bytes>, Fault> {
        // Pieces are read one by one. If a commit came in between, the head is another one now, and is followed.
        loop {
            let pieces = pieces(&stored);
            if pieces == 0 {
                return Ok(Some(Bytes::Whole(stored)));
            }
            let mut joined = Vec::with_capacity(pieces as usize * CHUNK);
            for number in 0..pieces {
                if let Some(piece) = self.stored(Table::Chunks, &chunk_key(table, key, number))? {
                    joined.extend_from_slice(&piece);
                }
            }
            if stored.get(5..) == Some(&fingerprint(EMPTY, &joined).to_be_bytes()[..]) {
                return Ok(Some(Bytes::Joined(joined)));
            }
            match self.stored(table, key)? {
                None => return Ok(None),
                Some(now) if now == stored => return Err(Fault::corrupt("a large value")),
                Some(now) => stored = now,
            }
        }
    }

    /// Applies operations in one unit and says by how many bytes what is alive has grown. They are put into the order of
    /// the tables and keys: what lies together is written together.
    ///
    /// Later operations on a key win over earlier ones.
    pub(super) fn apply(&self, ops: &mut [Op]) -> Result<i64, Fault> {
        // Stable, so that the later one of a key stays behind the earlier.
        ops.sort_by(|one, other| (one.table, &one.key).cmp(&(other.table, &other.key)));
        let mut grown = 0_i64;
        let mut applied = ops.iter();
        let writes: Vec<_> = ops.iter().map(|op| (self.tree(op.table), &op.key, op.value.as_ref())).collect();
        ::sled::transaction::write_all(&writes, |old| {
            let Some(op) = applied.next() else { return };
            let weight = |value: &IVec| signed(op.key.len() + value.len());
            grown += op.value.as_ref().map_or(0, weight) - old.as_ref().map_or(0, weight);
        })?;
        Ok(grown)
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
