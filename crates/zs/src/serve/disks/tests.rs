use super::*;

#[test]
fn sizes_are_those_of_a_disk() {
    assert_eq!(size("8G"), Ok(8 << 30));
    assert_eq!(size("512"), Ok(512));
    assert!(size("0").unwrap_err().contains("holds nothing"));
    assert_eq!(size("4GB"), Ok(4_000_000_000));
    let error = size("1000").unwrap_err();
    assert!(
        error.contains("multiple of 512") && error.ends_with("1024"),
        "{error}"
    );
    assert!(size("9223372036854775808").unwrap_err().contains("largest"));
}

#[test]
fn temporary_backings_are_no_longer_than_can_be_used() {
    assert_eq!(temporary_size(None, 8 << 30), 8 << 30);
    assert_eq!(temporary_size(None, 1 << 40), 512 << 30);
    assert_eq!(temporary_size(Some(1 << 20), 1 << 40), 1 << 20);
    // Which is refused, and not made less in silence.
    assert_eq!(temporary_size(Some(1 << 40), 8 << 30), 1 << 40);
}

/// A disk in a file gets the limit of its own size, whatever --size says.
#[test]
fn a_disk_in_a_file_wishes_for_what_fills_it() {
    let mut file = tempfile::tempfile().unwrap();
    let store = Store::new(StoreOptions::new(16 << 20)).unwrap();
    store.snapshot(&file).unwrap();
    file.rewind().unwrap();
    assert_eq!(size_in(&file), 16 << 20);
    // It is read from the start again.
    let loaded = Store::load(&file, &as_loaded(&StoreOptions::new(1 << 20), 64 << 20));
    assert_eq!(loaded.unwrap().size(), 16 << 20);
    assert_eq!(size_in(&tempfile::tempfile().unwrap()), 0, "a damaged one");
}

#[test]
fn disks_have_names() {
    let disk = named("a=b=1M").unwrap();
    assert_eq!((disk.name.as_str(), disk.size), ("a=b", 1 << 20));
    assert!(named("data").unwrap_err().contains("data=8G"));
    assert!(named("data=").unwrap_err().contains("is no size"));
}
