//! Added for Hookmill: a recovery that has lost something is an error, and is found before anything is written.
//!
//! Recovery passes over what it can't read: the rest of a segment behind a damaged message, and all of a segment
//! with a damaged header. That is right where a crash has left a freed segment half overwritten, since everything in
//! it had been replaced elsewhere. It is the loss of whatever is newest there if a bit has flipped. The two are told
//! apart by what can still be read around the damage: if one message of it is the latest word on its page, the segment
//! was not free.

use std::convert::TryFrom;

use super::{
    constants::{MAX_MSG_HEADER_LEN, SEG_HEADER_LEN},
    pread_exact_or_eof, read_segment_header, DiskPtr, LogIter, LogOffset, Lsn,
    MessageHeader, MessageKind, PageState, Snapshot,
};
use crate::*;

/// Where the log ends, as far as it was recovered: all that comes later is nobody's.
fn tip(
    iter: &LogIter,
    snapshot: &Snapshot,
    config: &RunningConfig,
) -> Lsn {
    let segment_size = config.segment_size as Lsn;
    let read = iter.cur_lsn.map_or(0, |lsn| {
        if iter.segment_base.is_some() {
            lsn
        } else {
            (lsn + segment_size - 1) / segment_size * segment_size
        }
    });
    let (_, known) = snapshot.recovered_coords(config.segment_size);
    read.max(known.unwrap_or(0))
}

/// An error if something is lost; if what is left is wanted, sees to it that it can be read.
pub(super) fn check(
    iter: &LogIter,
    snapshot: &mut Snapshot,
    config: &RunningConfig,
) -> Result<()> {
    if config.scavenging {
        mend(snapshot);
    }
    if config.scavenging || config.forgiving {
        return Ok(());
    }
    let tip = tip(iter, snapshot, config);
    if tip < config.must_reach {
        error!("the log ends at {}, not at {}", tip, config.must_reach);
        return Err(Error::corruption(None));
    }
    let file_len = config.file.metadata()?.len();
    for page in &snapshot.pt {
        let within = match page {
            PageState::Present { base, frags } => {
                let mut all = std::iter::once(base).chain(frags);
                all.all(|(_, ptr, size)| ptr.lid() + size <= file_len)
            }
            PageState::Free(_, ptr) => ptr.lid() < file_len,
            PageState::Uninitialized => true,
        };
        if !within {
            error!("the file ends before a page: {:?}", page);
            return Err(Error::corruption(None));
        }
    }
    let segment_size = config.segment_size as LogOffset;
    for hole in &iter.holes {
        if hole + segment_size > file_len
            || holds_living(*hole, tip, snapshot, config)?
        {
            error!("the segment at {} is damaged", hole);
            return Err(Error::corruption(None));
        }
    }
    for number in 0..file_len / segment_size {
        let segment = number * segment_size;
        let has_header = read_segment_header(&config.file, segment)?.ok;
        if !has_header
            && !is_blank(segment, config)?
            && holds_living(segment, tip, snapshot, config)?
        {
            error!("the header of the segment at {} is damaged", segment);
            return Err(Error::corruption(None));
        }
    }
    Ok(())
}

/// Has pages of which nothing was found lie where there is none, so that reading them is an error.
fn mend(snapshot: &mut Snapshot) {
    let somewhere = snapshot.pt.iter().find_map(|page| match page {
        PageState::Present { base: (lsn, ptr, _), .. } => {
            Some((lsn + 1, DiskPtr::new_inline(ptr.lid() + 1), 1))
        }
        _ => None,
    });
    if let Some(base) = somewhere {
        for page in &mut snapshot.pt {
            if *page == PageState::Uninitialized {
                *page = PageState::Present { base, frags: vec![] };
            }
        }
    }
}

/// Whether any message that can be read in a segment is the latest word on its page.
fn holds_living(
    segment: LogOffset,
    tip: Lsn,
    snapshot: &Snapshot,
    config: &RunningConfig,
) -> Result<bool> {
    let mut buf = vec![0; config.segment_size];
    let size = pread_exact_or_eof(&config.file, &mut buf, segment)?;
    buf.truncate(size);
    let mut at = SEG_HEADER_LEN;
    while at + MAX_MSG_HEADER_LEN <= buf.len() {
        match read(&buf[at..]) {
            Some((header, len)) => {
                let number = header.segment_number.0;
                let base = number.saturating_mul(config.segment_size as u64);
                let base = Lsn::try_from(base).unwrap_or(Lsn::max_value());
                let lsn = base.saturating_add(at as Lsn);
                if lsn < tip && is_living(&header, lsn, snapshot) {
                    return Ok(true);
                }
                at += len;
            }
            None => at += 1,
        }
    }
    Ok(false)
}

/// Whether a segment is zeroed, as free ones are, of which there may be very many: looked at here and there.
fn is_blank(segment: LogOffset, config: &RunningConfig) -> Result<bool> {
    let mut buf = [0; 4096];
    let step = config.segment_size as LogOffset / 8;
    for at in (0..8).map(|number| segment + number * step) {
        let size = pread_exact_or_eof(&config.file, &mut buf, at)?;
        if buf[..size].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where the next whole message of a segment is, from `at` on.
pub(super) fn next_intact(
    buf: &[u8],
    at: usize,
    number: u64,
) -> Option<usize> {
    let last = buf.len().checked_sub(MAX_MSG_HEADER_LEN)?;
    (at..=last).find(|at| {
        let found = read(&buf[*at..]);
        found.map_or(false, |(header, _)| header.segment_number.0 == number)
    })
}

/// Reads the message at the beginning of `buf`, if there is one and it is whole.
fn read(buf: &[u8]) -> Option<(MessageHeader, usize)> {
    let kind = MessageKind::from(buf[4]);
    if kind == MessageKind::Corrupted {
        return None;
    }
    let mut head = [0; 128];
    let head_len = buf.len().min(head.len());
    head[..head_len].copy_from_slice(&buf[..head_len]);
    let mut rest = &head[..];
    let header = MessageHeader::deserialize(&mut rest).ok()?;
    let body = head.len() - rest.len();
    let len = usize::try_from(header.len).ok()?;
    let end = body.checked_add(len).filter(|end| *end <= buf.len())?;
    let crc = calculate_message_crc32(&head[..body], &buf[body..end]);
    if crc == header.crc32 {
        Some((header, end))
    } else {
        None
    }
}

fn is_living(header: &MessageHeader, lsn: Lsn, snapshot: &Snapshot) -> bool {
    let is_page = match header.kind {
        MessageKind::Corrupted
        | MessageKind::Canceled
        | MessageKind::Cap
        | MessageKind::BatchManifest => false,
        _ => true,
    };
    let is_link = match header.kind {
        MessageKind::InlineLink | MessageKind::BlobLink => true,
        _ => false,
    };
    let known = usize::try_from(header.pid)
        .ok()
        .and_then(|pid| snapshot.pt.get(pid));
    is_page
        && match known {
            Some(PageState::Present { base, .. }) => base.0 <= lsn,
            Some(PageState::Free(freed, _)) => *freed <= lsn,
            // An addition to a page that is gone.
            Some(PageState::Uninitialized) | None => !is_link,
        }
}
