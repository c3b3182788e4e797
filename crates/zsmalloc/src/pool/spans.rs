//! Where an object's bytes lie: from a place to one span or two of the payload.

use crate::class::ClassContext;
use crate::client::Client;
use crate::ids::as_index;
use crate::ids::{ClassIndex, EntryIndex, ZspageId};
use crate::pool::Pool;
use crate::word::Place;
use core::ops::Range;
use zs_mm::ArenaRef;
use zs_sync::Payload;

/// The bytes of an object in the payload: at most two spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ByteSpans {
    pub(crate) first: Range<usize>,
    pub(crate) second: Range<usize>,
}

impl ByteSpans {
    /// Copies `bytes`, which are as long as the spans together, into them.
    ///
    /// # Safety
    /// As for [`Payload::write`], for both spans.
    pub(crate) unsafe fn write(&self, payload: &Payload, bytes: &[u8]) {
        let (first, second) = bytes.split_at(self.first.len());
        // SAFETY: by this function's contract.
        unsafe { payload.write(self.first.start, first) };
        if !second.is_empty() {
            // SAFETY: by this function's contract.
            unsafe { payload.write(self.second.start, second) };
        }
    }

    /// Copies the bytes of `source`, which is as long, into these spans.
    ///
    /// # Safety
    /// As for [`Payload::bytes`] for both spans of `source`, and as for [`Payload::write`] for both
    /// of these.
    pub(crate) unsafe fn copy_from(&self, payload: &Payload, source: &Self) {
        let mut done = 0;
        for span in [&source.first, &source.second] {
            if !span.is_empty() {
                // SAFETY: by this function's contract.
                let bytes = unsafe { payload.bytes(span.start, span.len()) };
                // SAFETY: by this function's contract.
                unsafe { self.part(done, span.len()).write(payload, bytes) };
                done += span.len();
            }
        }
    }

    /// Zeroes both spans.
    ///
    /// # Safety
    /// As for [`Payload::zero`], for both spans.
    pub(crate) unsafe fn zero(&self, payload: &Payload) {
        for span in [&self.first, &self.second] {
            if !span.is_empty() {
                // SAFETY: by this function's contract.
                unsafe { payload.zero(span.start, span.len()) };
            }
        }
    }

    /// Returns the part of the spans from `offset` for `len` bytes.
    pub(crate) fn part(&self, offset: usize, len: usize) -> Self {
        let cut = |span: &Range<usize>, before: usize| {
            let start = offset.saturating_sub(before).min(span.len());
            let end = (offset + len).saturating_sub(before).min(span.len());
            span.start + start..span.start + end
        };
        Self {
            first: cut(&self.first, 0),
            second: cut(&self.second, self.first.len()),
        }
    }
}

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Returns the class of an object whose word somebody holds, and the object's length.
    #[inline]
    #[expect(clippy::expect_used, reason = "a held word leads to a record in use")]
    pub(crate) fn class_and_len(&self, place: Place) -> (ClassIndex, usize) {
        let class = self.records.class_of(place.zspage);
        let class = class.expect("the zspage of a held word is in use");
        (
            class,
            as_index(self.geometry.class(class).size - place.slack),
        )
    }

    /// Returns where the first `len` bytes of a slot lie. The caller holds the object's word, or
    /// its class.
    #[inline]
    pub(crate) fn spans(&self, class: ClassIndex, place: Place, len: usize) -> ByteSpans {
        let context = self.context(class);
        let page_size = self.geometry.page_size();
        let page = page_size.bytes();
        let start = context.class.start_of(place.slot);
        let (entry, offset) = (EntryIndex::of_byte(start, page_size), start & (page - 1));
        let first = self.frame_start(context, place.zspage, entry) + offset;
        let in_first = len.min(page - offset);
        // An object that ends exactly at its frame's end has no second span.
        let second = if in_first == len {
            0..0
        } else {
            let second = self.frame_start(context, place.zspage, entry.next());
            second..second + len - in_first
        };
        ByteSpans {
            first: first..first + in_first,
            second,
        }
    }

    #[inline]
    #[expect(
        clippy::expect_used,
        reason = "a frame that an object touches is attached"
    )]
    fn frame_start(&self, context: ClassContext<'_>, zspage: ZspageId, entry: EntryIndex) -> usize {
        let frame = context.record(zspage).frame(entry);
        let frame = frame.expect("the frames of a slot in use are attached");
        frame.index() << self.geometry.page_size().shift()
    }
}
