//! One object for programs. `README.md` of this crate says what each member means.

use super::models::{self, ModelObject};
use super::processes_json::LiveObject;
use super::{Report, overhead, quotient};
use crate::estimate::protocol::{AfterFree, Class, Measured, Metadata};
use crate::failure::Failure;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Object<'a> {
    page_size: usize,
    pages: u64,
    bytes: u64,
    zero: u64,
    same_filled: u64,
    padded_bytes: u64,
    limit: u64,
    limit_reached: bool,
    files: Vec<FileObject<'a>>,
    #[serde(flatten)]
    live: Option<LiveObject<'a>>,
    codecs: BTreeMap<&'static str, CodecObject<'a>>,
}

#[derive(Serialize)]
struct FileObject<'a> {
    path: Cow<'a, str>,
    bytes: u64,
    padded_bytes: u64,
    hole_bytes: u64,
    unpacked: bool,
    skipped: bool,
}

#[derive(Serialize)]
struct CodecObject<'a> {
    pages: u64,
    same_filled: u64,
    zero: u64,
    stored: u64,
    raw: u64,
    payload_bytes: u64,
    held_bytes: u64,
    rss_bytes: u64,
    overhead: Option<f64>,
    rss_overhead: Option<f64>,
    ratio: Option<f64>,
    compression_ratio: Option<f64>,
    store_ns: Option<f64>,
    load_ns: Option<f64>,
    objects: u64,
    slots: u64,
    zspages: u64,
    frames: u64,
    frame_bytes: u64,
    metadata_bytes: Metadata,
    limit_reached: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<&'a [Class]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    models: Option<Vec<ModelObject<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_free: Option<AfterFreeObject<'a>>,
}

#[derive(Serialize)]
struct AfterFreeObject<'a> {
    #[serde(flatten)]
    measured: &'a AfterFree,
    overhead_before_compact: Option<f64>,
    overhead: Option<f64>,
    rss_overhead: Option<f64>,
    ratio: Option<f64>,
}

impl Report {
    /// Returns the report as one line of JSON.
    pub(in crate::estimate) fn json(&self) -> Result<String, Failure> {
        // The codec that got furthest has seen most pages.
        let furthest = std::cmp::max_by_key(&self.lz4, &self.zstd, |codec| codec.pages);
        let codecs = self.codecs();
        let codecs = codecs.map(|(name, codec)| (name, self.codec_object(codec)));
        let object = Object {
            page_size: self.page.bytes(),
            pages: self.pages(),
            bytes: self.bytes(),
            zero: furthest.zero,
            same_filled: furthest.same_filled,
            padded_bytes: self.padding(),
            limit: self.limit,
            limit_reached: self.limit_reached(),
            files: self.file_objects(),
            live: self.live_object(),
            codecs: BTreeMap::from(codecs),
        };
        let text = serde_json::to_string(&object);
        text.map(|text| text + "\n")
            .map_err(|error| Failure::Failed(format!("no JSON could be made: {error}")))
    }

    fn file_objects(&self) -> Vec<FileObject<'_>> {
        let objects = self.files().iter().map(|source| FileObject {
            path: source.path.to_string_lossy(),
            bytes: source.bytes,
            padded_bytes: source.padding,
            hole_bytes: source.holes,
            unpacked: source.unpacked,
            skipped: source.bytes == 0,
        });
        objects.collect()
    }

    fn codec_object<'a>(&self, codec: &'a Measured) -> CodecObject<'a> {
        CodecObject {
            pages: codec.pages,
            same_filled: codec.same_filled,
            zero: codec.zero,
            stored: codec.stored,
            raw: codec.raw,
            payload_bytes: codec.payload_bytes,
            held_bytes: codec.held_bytes,
            rss_bytes: codec.rss_bytes,
            overhead: overhead(codec),
            rss_overhead: quotient(codec.rss_bytes, codec.payload_bytes),
            ratio: self.ratio(codec),
            compression_ratio: self.compression(codec),
            store_ns: codec.store_ns,
            load_ns: codec.load_ns,
            objects: codec.objects,
            slots: codec.slots,
            zspages: codec.zspages,
            frames: codec.frames,
            frame_bytes: codec.frame_bytes,
            metadata_bytes: codec.metadata_bytes,
            limit_reached: codec.limit_reached,
            classes: self.with_classes.then_some(codec.classes.as_slice()),
            models: models::objects(codec),
            after_free: codec.after_free.as_ref().map(|after| AfterFreeObject {
                measured: after,
                overhead_before_compact: after.over_payload(after.held_before_compact_bytes),
                overhead: after.over_payload(after.held_bytes),
                rss_overhead: after.over_payload(after.rss_bytes),
                ratio: self.ratio_after_free(codec, after),
            }),
        }
    }
}
