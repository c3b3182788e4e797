//! What `zs estimate` measures and prints.

use crate::common::*;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// What holds between the figures of every report.
fn check_relations(report: &Value) {
    let page_size = number(report, "page_size");
    let padded = number(report, "bytes") + number(report, "padded_bytes");
    assert_eq!(number(report, "pages") * page_size, padded);
    for name in CODECS {
        let codec = &report["codecs"][name];
        let of = |member| number(codec, member);
        assert_eq!(of("stored") + of("same_filled"), of("pages"), "{name}");
        assert_eq!(of("objects"), of("stored"), "{name}");
        assert!(of("zero") <= of("same_filled"));
        assert!(of("raw") <= of("stored"));
        assert!(of("payload_bytes") <= of("stored") * page_size);
        assert!(of("payload_bytes") >= of("raw") * page_size);
        assert!(of("slots") >= of("objects"));
        assert_eq!(of("frames") * page_size, of("frame_bytes"));
        let metadata = &codec["metadata_bytes"];
        let metadata =
            ["words", "records", "structure", "arena"].map(|kind| number(metadata, kind));
        let sum = of("frame_bytes") + metadata.iter().sum::<u64>();
        assert_eq!(
            sum,
            of("held_bytes"),
            "{name}: nothing else is held after trim"
        );
        assert!(of("held_bytes") <= number(report, "limit"));
        let (held, resident) = (of("held_bytes"), of("rss_bytes"));
        let apart = held.abs_diff(resident);
        assert!(
            apart <= AGREEMENT.max(held / 100),
            "{name}: {held} held, {resident} resident"
        );
        if of("stored") > 0 {
            assert!(of("held_bytes") >= of("payload_bytes"));
            let overhead = held as f64 / of("payload_bytes") as f64;
            assert!((fraction(codec, "overhead") - overhead).abs() < 1e-9);
            assert!(fraction(codec, "store_ns") > 0.0);
            assert!(fraction(codec, "load_ns") > 0.0);
        }
    }
}

#[test]
fn a_mixture_is_counted_and_its_figures_add_up() {
    let folder = folder();
    let mut numbers = Numbers::new(7);
    let kinds = [
        (Kind::Zero, 30),
        (Kind::SameFilled, 20),
        (Kind::Text, 400),
        (Kind::Pointers, 200),
        (Kind::Records, 300),
        (Kind::Random, 50),
    ];
    let mut pages = Vec::new();
    for (kind, count) in kinds {
        pages.extend((0..count).map(|_| page(kind, &mut numbers, 4096)));
    }
    // Every third page, so that the kinds alternate.
    let order = (0..3).flat_map(|start| (start..pages.len()).step_by(3));
    let bytes: Vec<u8> = order.flat_map(|index| pages[index].clone()).collect();
    let report = json(&write(&folder, "mixture", &bytes), &[]);
    check_relations(&report);
    assert_eq!(number(&report, "pages"), 1000);
    assert_eq!(number(&report, "bytes"), 4_096_000);
    assert_eq!(number(&report, "zero"), 30);
    assert_eq!(number(&report, "same_filled"), 50);
    assert_eq!(report["limit_reached"], false);
    for name in CODECS {
        let codec = &report["codecs"][name];
        assert_eq!(number(codec, "stored"), 950);
        assert_eq!(
            number(codec, "raw"),
            50,
            "{name}: random pages do not compress"
        );
        assert!(codec.get("classes").is_none());
    }
    let payload = |name: &str| number(&report["codecs"][name], "payload_bytes");
    assert!(payload("zstd") < payload("lz4"));
}

#[test]
fn the_payload_is_what_the_codec_makes_of_the_pages() {
    use zcomp::{Compressed, Stream};
    let folder = folder();
    let bytes = mixture(3, 300);
    let report = json(&write(&folder, "mixture", &bytes), &[]);
    for name in CODECS {
        let algorithm: zcomp::Algorithm = name.parse().unwrap();
        let mut stream = Stream::new(algorithm, 4096).unwrap();
        let mut room = vec![0; algorithm.max_compressed_len(4096)];
        let stored = bytes
            .chunks(4096)
            .filter(|page| page.chunks(8).any(|word| word != &page[..8]));
        let lengths = stored.map(|page| match stream.compress(page, &mut room).unwrap() {
            Compressed::Fits(len) => len.min(4096) as u64,
            Compressed::DoesNotFit => 4096,
        });
        let expected: u64 = lengths.sum();
        assert_eq!(
            number(&report["codecs"][name], "payload_bytes"),
            expected,
            "{name}"
        );
    }
}

/// The bar of the project for 16 MiB of real memory is 1.08. This mixture fills fewer classes than
/// real memory does, and stood at 1.043 when the test was written.
#[test]
fn sixteen_mebibytes_of_pages_are_held_densely() {
    let folder = folder();
    let report = json(&write(&folder, "mixture", &mixture(1, 4096)), &[]);
    check_relations(&report);
    let lz4 = &report["codecs"]["lz4"];
    for figure in ["overhead", "rss_overhead"] {
        let overhead = fraction(lz4, figure);
        assert!((1.0..1.06).contains(&overhead), "{figure} of {overhead}");
    }
}

#[test]
fn a_program_can_be_estimated_with_pages_of_every_size() {
    for (size, bytes) in [("4k", 4096), ("16k", 16384), ("64k", 65536)] {
        let report = json(Path::new(ZS), &["--classes", "--page-size", size]);
        check_relations(&report);
        assert_eq!(number(&report, "page_size"), bytes);
        assert_eq!(number(&report, "bytes"), fs::metadata(ZS).unwrap().len());
        for name in CODECS {
            let codec = &report["codecs"][name];
            let classes = codec["classes"].as_array().unwrap().len() as u64;
            let payload = number(codec, "payload_bytes");
            // Slots are 1/128 of a page apart; each class may have frames that are not full yet;
            // the rest is metadata.
            let bound = payload + payload / 25 + 2 * classes * bytes + (128 << 10);
            let held = number(codec, "held_bytes");
            assert!(
                held <= bound,
                "{name} at {size}: {held} held, bound {bound}"
            );
        }
    }
}

#[test]
fn packed_files_several_files_and_the_same_one_twice_are_estimated() {
    let folder = folder();
    let bytes = mixture(5, 200);
    let plain = write(&folder, "plain", &bytes);
    let (front, back) = bytes.split_at(100 * 4096 + 10);
    let frames = [front, back].map(|part| zstd::encode_all(part, 1).unwrap());
    let packed = write(&folder, "packed.zst", &frames.concat());
    let one = json(&plain, &[]);
    let two = json(&packed, &[plain.to_str().unwrap()]);
    let twice = json(&plain, &["--file", plain.to_str().unwrap()]);
    for report in [&one, &two, &twice] {
        check_relations(report);
    }
    for report in [&two, &twice] {
        assert_eq!(number(report, "pages"), 400);
        assert_eq!(
            number(report, "same_filled"),
            2 * number(&one, "same_filled")
        );
        for name in CODECS {
            let payload = |report: &Value| number(&report["codecs"][name], "payload_bytes");
            assert_eq!(payload(report), 2 * payload(&one));
        }
    }
    assert_eq!(two["files"][0]["unpacked"], true);
    assert_eq!(two["files"][1]["unpacked"], false);
    assert_eq!(two["files"][1]["path"], plain.to_str().unwrap());
}

#[test]
fn classes_add_up_to_the_pool() {
    let folder = folder();
    let path = write(&folder, "mixture", &mixture(9, 500));
    let report = json(&path, &["--classes"]);
    check_relations(&report);
    for name in CODECS {
        let codec = &report["codecs"][name];
        let classes = codec["classes"].as_array().unwrap();
        let sum = |member: &str| {
            classes
                .iter()
                .map(|class| number(class, member))
                .sum::<u64>()
        };
        assert_eq!(sum("objects"), number(codec, "objects"));
        assert_eq!(sum("payload_bytes"), number(codec, "payload_bytes"));
        assert_eq!(sum("frames"), number(codec, "frames"));
        assert_eq!(sum("zspages"), number(codec, "zspages"));
        assert_eq!(sum("usable_slots"), number(codec, "slots"));
        for class in classes {
            assert!(number(class, "objects") > 0);
            let objects = number(class, "objects");
            assert!(number(class, "payload_bytes") <= objects * number(class, "size"));
            let groups = class["groups"].as_array().unwrap();
            let zspages: u64 = groups.iter().map(|group| group.as_u64().unwrap()).sum();
            assert_eq!((groups.len(), zspages), (12, number(class, "zspages")));
        }
    }
}

#[test]
fn pages_of_one_word_take_no_slot() {
    let folder = folder();
    let report = json(&write(&folder, "zeros", &vec![0; 1 << 20]), &[]);
    check_relations(&report);
    assert_eq!(number(&report, "zero"), 256);
    assert_eq!(number(&report, "same_filled"), 256);
    let lz4 = &report["codecs"]["lz4"];
    assert_eq!(number(lz4, "payload_bytes"), 0);
    assert_eq!(number(lz4, "frames"), 0);
    for unknown in ["overhead", "store_ns", "load_ns", "compression_ratio"] {
        assert!(lz4[unknown].is_null(), "{unknown}");
    }
    let output = estimate(&folder.path().join("zeros"), &[]);
    let text = stdout(&output);
    assert!(
        text.contains("100.0 % zero, 0 % otherwise same-filled"),
        "{text}"
    );
    assert!(text.contains(" - "), "{text}");
}

#[test]
fn pages_that_do_not_compress_give_nothing_back() {
    let folder = folder();
    let bytes = page(Kind::Random, &mut Numbers::new(2), 512 << 12);
    let path = write(&folder, "random", &bytes);
    let report = json(&path, &[]);
    check_relations(&report);
    assert_eq!(number(&report["codecs"]["lz4"], "raw"), 512);
    assert_eq!(number(&report["codecs"]["lz4"], "payload_bytes"), 512 << 12);
    let text = estimate(&path, &[]);
    assert!(stdout(&text).contains("instead of 2 MiB: nothing given back"));
}

#[test]
fn the_report_is_for_people() {
    let folder = folder();
    let path = write(&folder, "mixture", &mixture(4, 256));
    let output = estimate(&path, &["--classes"]);
    assert!(output.status.success());
    assert_eq!(stderr(&output), "");
    let text = stdout(&output);
    assert!(text.starts_with("256 pages of 4 KiB (1 MiB): "), "{text}");
    for part in [
        "held: frames and all metadata",
        "time to load a page",
        "lz4 would hold it in ",
        "% given back",
        "size classes with lz4",
        "size classes with zstd",
        "fullness",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let widest = text.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "{text}");
    assert!(!text.contains('\x1b'), "no colours outside a terminal");
}

#[test]
fn the_limit_stops_the_estimate_and_the_report_says_so() {
    let folder = folder();
    let bytes = page(Kind::Random, &mut Numbers::new(8), 1000 << 12);
    let path = write(&folder, "random", &bytes);
    let output = estimate(&path, &["--json", "--classes", "--limit", "2M"]);
    assert_eq!(output.status.code(), Some(3));
    let report = json_of(&output);
    check_relations(&report);
    assert_eq!(report["limit_reached"], true);
    assert_eq!(number(&report, "pages"), 1000);
    let lz4 = &report["codecs"]["lz4"];
    assert_eq!(lz4["limit_reached"], true);
    let pages = number(lz4, "pages");
    assert!((400..512).contains(&pages), "{pages} pages in 2 MiB");
    assert_eq!(
        number(lz4, "held_bytes").div_ceil(1 << 17),
        16,
        "the limit is used up"
    );

    let output = estimate(&path, &["--limit", "2M"]);
    assert_eq!(output.status.code(), Some(3));
    let expected = format!("lz4 stored {pages} of 1000 pages: the limit of 2 MiB is reached");
    assert!(stdout(&output).contains(&expected), "{}", stdout(&output));
    assert!(stdout(&output).contains("would hold these in"));
}

#[test]
fn one_codec_can_reach_the_limit_alone() {
    let folder = folder();
    let bytes = mixture(6, 1100);
    let path = write(&folder, "mixture", &bytes);
    let report = json(&path, &[]);
    let held = |name: &str| number(&report["codecs"][name], "held_bytes");
    let between = (held("lz4") + held("zstd")) / 2;
    assert!(between > 2 << 20, "{between} bytes are a limit");
    let output = estimate(&path, &["--json", "--limit", &between.to_string()]);
    assert_eq!(output.status.code(), Some(3));
    let limited = json_of(&output);
    check_relations(&limited);
    assert_eq!(limited["codecs"]["lz4"]["limit_reached"], true);
    assert_eq!(limited["codecs"]["zstd"]["limit_reached"], false);
    assert_eq!(
        number(&limited, "same_filled"),
        number(&report, "same_filled")
    );
}

#[test]
fn help_and_version_are_printed() {
    for arguments in [
        ["--help"].as_slice(),
        &["capture", "--help"],
        &["estimate", "--help"],
        &["estimate", "-h"],
    ] {
        let output = zs(arguments).output().unwrap();
        assert!(output.status.success());
        let text = stdout(&output);
        let example = arguments[0] == "capture" || text.contains("zs estimate -- cargo check");
        assert!(example, "{text}");
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{text}");
    }
    let output = zs(&["--version"]).output().unwrap();
    let expected = format!("zs {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(stdout(&output), expected);
}

/// The models see the objects that were stored, and count what their definition says: frames, a
/// whole number of them.
#[test]
fn models_of_others_are_told_apart_from_what_is_measured() {
    const NAMES: [&str; 5] = [
        "kernel zsmalloc, chain 4",
        "kernel zsmalloc, chain 8",
        "kernel zsmalloc, chain 16",
        "zbud",
        "z3fold",
    ];
    let folder = folder();
    let path = write(&folder, "mixture", &mixture(1, 4096));
    assert!(json(&path, &[])["codecs"]["lz4"]["models"].is_null());
    let report = json(&path, &["--compare", "--free", "50%"]);
    for name in CODECS {
        let codec = &report["codecs"][name];
        let models = codec["models"].as_array().unwrap();
        assert!(models.iter().map(|model| &model["name"]).eq(NAMES));
        let (payload, stored) = (number(codec, "payload_bytes"), number(codec, "stored"));
        for model in models {
            let bytes = number(model, "frame_bytes");
            assert!(payload < bytes && bytes <= stored * 4096, "{model}");
            assert_eq!(bytes % 4096, 0, "{model}");
            let overhead = bytes as f64 / payload as f64;
            assert!((fraction(model, "overhead") - overhead).abs() < 1e-9);
        }
        // Two objects a frame at most, and three.
        assert!(number(&models[3], "frame_bytes") >= stored.div_ceil(2) * 4096);
        assert!(number(&models[4], "frame_bytes") >= stored.div_ceil(3) * 4096);
    }
    let output = estimate(&path, &["--compare"]);
    let text = stdout(&output);
    assert!(
        text.contains("by models") && text.contains("not measured"),
        "{text}"
    );
    for name in NAMES {
        assert!(text.contains(&format!("model: {name}")), "{text}");
    }
    assert!(text.contains("measured: this pool"), "{text}");
}
