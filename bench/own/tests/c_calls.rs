//! Every kind of call is measured on both sides. (How much more one costs is the command's to say.)

use bench_own::{CCalls, c_calls};

#[test]
fn every_call_is_measured_on_both_sides() {
    let options = CCalls {
        objects: 100,
        batches: 20,
    };
    let costs = c_calls(&options).expect("every call answers as it must");
    let calls: Vec<&str> = costs.iter().map(|cost| cost.call).collect();
    let expected = [
        "insert",
        "read into a buffer",
        "view, begun and ended",
        "replace",
        "write 32 bytes",
        "free",
    ];
    assert_eq!(calls, expected);
    assert!(
        costs
            .iter()
            .all(|cost| cost.rust_ns > 0.0 && cost.c_ns > 0.0),
        "{costs:?}"
    );
}
