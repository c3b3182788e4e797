//! What is written is what is read.

use crate::disk::Disk;
use crate::programs::{installed, run};

/// Every option of blocks and algorithms that is tried.
const DISKS: [&[&str]; 3] = [
    &["--block-size", "4k", "--algorithm", "lz4"],
    &["--block-size", "64k", "--algorithm", "zstd"],
    &["--block-size", "16k", "--algorithm", "lz4"],
];

#[test]
fn qemu_io_reads_what_it_wrote() {
    if !installed(&["qemu-io"]) {
        return;
    }
    for options in DISKS {
        let disk = Disk::start(&[&["--size", "64M"], options].concat());
        let first = [
            "write -P 0xab 1000 5000",
            "read -P 0xab 1000 5000",
            "read -P 0 0 1000",
            "read -P 0 6000 60k",
            "write -f -P 0xcd 1M 3M",
            // With and without a hole, whole blocks and parts of them, across their borders.
            "write -z -u 2M 64k",
            "write -z 3M 512",
            "write -z -u 3073k 3k",
            "write -z 3200k 70k",
            "discard 1M 4k",
            "discard 1100k 130k",
            "read -P 0 2M 64k",
            "read -P 0 3M 512",
            "read -P 0xcd 3145k 50k",
            "read -P 0 3073k 3k",
            "read -P 0 3200k 70k",
            "read -P 0xcd 2112k 64k",
            "read -P 0 1M 4k",
            "read -P 0xcd 1028k 72k",
            "read -P 0 1100k 130k",
            "read -P 0xcd 1230k 100k",
        ];
        // Several at once, that meet nowhere.
        let second = [
            "aio_write -P 1 8M 1M",
            "aio_write -P 2 9M 32M",
            "aio_write -z -u 44M 3M",
            "aio_write -P 3 41M 3M",
            "aio_flush",
            "read -P 1 8M 1M",
            "read -P 2 9M 32M",
            "read -P 3 41M 3M",
            "read -P 0 44M 19M",
            "flush",
            "write -P 4 67108863 1",
            "read -P 4 67108863 1",
        ];
        // By another client, after the first has gone.
        for script in [&first[..], &second, &second[5..9]] {
            let script = script.iter().flat_map(|command| ["-c", command]);
            let arguments = ["-f", "raw", "-d", "unmap"].into_iter().chain(script);
            let text = run("qemu-io", arguments.chain([disk.uri()]));
            assert!(!text.contains("failed"), "{options:?}: {text}");
        }
        run(
            "qemu-io",
            [
                "-f",
                "raw",
                "-d",
                "unmap",
                "-c",
                "discard 0 64M",
                disk.uri(),
            ],
        );
        assert_eq!(disk.stat("orig_data_size"), 0, "{options:?}");
        disk.end();
    }
}

/// Each job has a part of the disk, and reads back what it wrote there in requests of all sizes.
#[test]
fn fio_verifies() {
    if !installed(&["fio"]) {
        return;
    }
    for options in DISKS {
        let disk = Disk::start(&[&["--size", "128M"], options].concat());
        let uri = format!("--uri={}", disk.uri());
        let text = run(
            "fio",
            [
                "--name=verify",
                "--ioengine=nbd",
                &uri,
                "--thread",
                "--numjobs=4",
                "--offset_increment=32m",
                "--size=32m",
                "--rw=randwrite",
                "--bssplit=512/10:1k/10:4k/30:12k/10:20k/10:64k/20:256k/10",
                "--bs_unaligned",
                "--blockalign=512",
                "--iodepth=16",
                "--verify=crc32c",
                "--verify_fatal=1",
                "--verify_pattern=%o",
                "--buffer_compress_percentage=60",
                "--refill_buffers",
                "--randseed=7",
                "--verify_state_save=0",
                "--group_reporting",
            ],
        );
        assert!(text.contains("READ:") && text.contains("WRITE:"), "{text}");
        assert!(text.contains("err= 0"), "{text}");
        let written = disk.stat("write/bytes");
        assert!(written >= 120 << 20, "{options:?}: {written} bytes");
        disk.end();
    }
}
