//! `zs ctl metrics`: what parsers of OpenMetrics take.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod common;

use common::nbd::Client;
use common::openmetrics::parse;
use common::server::Server;
use common::*;

#[track_caller]
fn value(text: &str, sample: &str) -> f64 {
    let samples = parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let found = samples.iter().find(|(name, _)| name == sample);
    found.unwrap_or_else(|| panic!("no {sample}: {text}")).1
}

/// A gauge `zs_huge_blocks` beside a counter `zs_huge_blocks_total` kept strict parsers from
/// reading anything.
#[test]
fn metrics_are_open_metrics() {
    let server = Server::with_disks(&["--export", "a=1M", "--export", "b \"\\c=2M", "-a", "zstd"]);
    let mut client = Client::connect(&server.socket(), "b \"\\c").unwrap();
    assert_eq!(client.write(8192, b"only here").unwrap(), 0);
    let mut numbers = Numbers::new(5);
    let random = page(Kind::Random, &mut numbers, 4096);
    assert_eq!(client.write(4096, &random).unwrap(), 0);
    assert_eq!(client.write(4096, &[7; 4096]).unwrap(), 0);
    assert_eq!(client.trim(0, 4096).unwrap(), 0);
    let text = server.told(&["metrics"]);
    for (sample, expected) in [
        (r#"zs_original_bytes{export="b \"\\c"}"#, 8192.0),
        (r#"zs_original_bytes{export="a"}"#, 0.0),
        (r#"zs_huge_blocks{export="b \"\\c"}"#, 0.0),
        (r#"zs_huge_blocks_stored_total{export="b \"\\c"}"#, 1.0),
        (
            r#"zs_request_seconds_count{export="b \"\\c",operation="write"}"#,
            3.0,
        ),
        (
            r#"zs_request_bytes_total{export="b \"\\c",operation="write"}"#,
            8201.0,
        ),
    ] {
        assert_eq!(value(&text, sample), expected, "{sample}");
    }
    for part in [
        "# UNIT zs_original_bytes bytes\n",
        "# UNIT zs_request_seconds seconds\n",
        "# TYPE zs_request_bytes counter\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let one = server.told(&["--export", "a", "metrics"]);
    assert_eq!(value(&one, r#"zs_disk_bytes{export="a"}"#), 1_048_576.0);
    assert!(parse(&one).unwrap().len() * 2 == parse(&text).unwrap().len());
    client.leave();
    server.terminate();
}

/// What the parsers refuse, the grammar of these tests refuses, too.
#[test]
fn the_grammar_can_fail() {
    let good = "# TYPE a_bytes gauge\n# UNIT a_bytes bytes\n# HELP a_bytes Text.\n\
                a_bytes{x=\"1\"} 5\na_bytes{x=\"\\\"\\n\"} 6\n\
                # TYPE b counter\nb_total{x=\"1\"} 7\n\
                # TYPE c_seconds histogram\n\
                c_seconds_bucket{x=\"1\",le=\"0.5\"} 1\nc_seconds_bucket{x=\"1\",le=\"+Inf\"} 2\n\
                c_seconds_sum{x=\"1\"} 3.5\nc_seconds_count{x=\"1\"} 2\n\
                # EOF\n";
    assert_eq!(parse(good).unwrap().len(), 7);
    for (part, broken) in [
        // The fault that there was.
        ("# TYPE b counter", "# TYPE a_bytes counter"),
        (
            "# TYPE c_seconds histogram\n",
            "# TYPE b_total gauge\nb_total{y=\"1\"} 1\n# TYPE c_seconds histogram\n",
        ),
        (
            "# TYPE b counter\n",
            "# TYPE b gauge\nb{y=\"1\"} 1\n# TYPE b counter\n",
        ),
        (
            "# TYPE b counter\nb_total",
            "# TYPE b_total counter\nb_total",
        ),
        ("# EOF\n", ""),
        ("# EOF\n", "# EOF\n\n"),
        ("# EOF\n", "\n# EOF\n"),
        ("# UNIT a_bytes bytes", "# UNIT a_bytes seconds"),
        ("# HELP a_bytes", "# TYPE a_bytes"),
        ("TYPE a_bytes gauge", "TYPE a_bytes meter"),
        ("a_bytes{x=\"1\"} 5", "a_bytes{x=\"1\"} five"),
        ("a_bytes{x=\"1\"} 5", "a_bytes{x=\"1\",x=\"2\"} 5"),
        ("a_bytes{x=\"1\"} 5", "a_bytes{x=\"1} 5"),
        ("x=\"\\\"\\n\"", "x=\"1\""),
        ("x=\"\\\"\\n\"", "x=\"\\q\""),
        ("b_total{x=\"1\"} 7", "b{x=\"1\"} 7"),
        ("b_total{x=\"1\"} 7", "b_total{x=\"1\"} -7"),
        ("b_total{x=\"1\"} 7\n", ""),
        ("le=\"0.5\"} 1", "le=\"0.5\"} 3"),
        ("le=\"+Inf\"", "le=\"0.4\""),
        ("le=\"+Inf\"", "le=\"0.6\""),
        ("c_seconds_count{x=\"1\"} 2", "c_seconds_count{x=\"1\"} 3"),
    ] {
        let page = good.replace(part, broken);
        assert_ne!(page, good);
        assert!(parse(&page).is_err(), "{page}");
    }
}
