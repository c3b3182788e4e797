//! Operations on one object.

use crate::calls::Pool;
use crate::driver::{Driver, differs, expect, key};
use zs_capi::{zs_mapmode, zs_result};
use zs_model::{Portion, pattern};
use zsmalloc::Error;

impl Driver {
    pub(crate) fn insert(&mut self, pool: u8, bytes: &[u8]) -> Result<(), String> {
        let number = self.number(pool);
        let due = self.room(number, bytes.len());
        let got = self.pools[number].insert(bytes);
        match self.agree("insert", got, due)? {
            Some(handle) => self.made(number, handle, bytes.to_vec()),
            None => Ok(()),
        }
    }

    /// By the own name or by the kernel's.
    pub(crate) fn allocate(&mut self, pool: u8, len: usize, slot: u16) -> Result<(), String> {
        let number = self.number(pool);
        let due = self.room(number, len);
        let got = if slot.is_multiple_of(2) {
            self.pools[number].allocate(len)
        } else {
            match self.pools[number].malloc(len) {
                (0, Some(libc::EINVAL)) => Err(zs_result::ZS_ZERO_SIZE),
                (0, Some(libc::ENOSPC)) => Err(zs_result::ZS_TOO_LARGE),
                (0, Some(libc::ENOMEM)) => Err(zs_result::ZS_NO_MEMORY),
                (0, errno) => return Err(format!("zs_malloc leaves errno {errno:?}")),
                (handle, None) => Ok(handle),
                (_, errno) => return Err(format!("a handle, but errno {errno:?}")),
            }
        };
        match self.agree("allocate", got, due)? {
            Some(handle) => self.made(number, handle, vec![0; len]),
            None => Ok(()),
        }
    }

    fn room(&self, number: usize, len: usize) -> Result<(), Error> {
        self.model.size(len)?;
        if self.model.totals(number).0 >= self.model.most {
            return Err(Error::NoMemory);
        }
        Ok(())
    }

    fn made(&mut self, number: usize, handle: u64, bytes: Vec<u8>) -> Result<(), String> {
        let key = key(handle)?;
        if self.model.find(number, key).is_some() {
            return Err(format!("{key} was given out twice"));
        }
        self.model.add(number, key, bytes, ());
        self.report.inserted += 1;
        self.read_back(self.model.objects.len() - 1)
    }

    /// Reads in every way, also into too short a buffer.
    pub(crate) fn read(&mut self, at: usize) -> Result<(), String> {
        let object = &self.model.objects[at];
        let (pool, handle, due) = (
            self.pools[object.pool],
            object.key.to_bits(),
            object.entry(),
        );
        let view = pool.view(handle);
        if let Err(error) = view {
            return self.agree("view", Err::<(), _>(error), due).map(drop);
        }
        self.agree("view", Ok(()), due)?;
        let spanning = view.is_ok_and(|view| {
            let spanning = !view.spans().second.is_null();
            view.end().is_ok() && spanning
        });
        self.report.read += 1;
        self.report.spanning += u64::from(spanning);
        let bytes = &self.model.objects[at].bytes;
        let mut buffer = vec![0; bytes.len() + 3];
        let short = pool.read(handle, &mut buffer[..bytes.len() - 1]);
        expect(
            "a short read",
            short,
            (zs_result::ZS_BUFFER_TOO_SMALL, bytes.len()),
        )?;
        if buffer.iter().any(|&byte| byte != 0) {
            return Err("a short read writes".to_owned());
        }
        expect(
            "read",
            pool.read(handle, &mut buffer),
            (zs_result::ZS_OK, bytes.len()),
        )?;
        if buffer[..bytes.len()] != *bytes || buffer[bytes.len()..] != [0; 3] {
            return Err("a read differs".to_owned());
        }
        // The kernel's read: a part, all, and more than there is.
        for len in [bytes.len().div_ceil(2), bytes.len()] {
            expect(
                "kernel read",
                pool.kernel_read(handle, len),
                Ok(bytes[..len].to_vec()),
            )?;
        }
        let beyond = pool.kernel_read(handle, bytes.len() + 1);
        expect("kernel read", beyond, Err(Some(libc::EINVAL)))?;
        self.read_back(at)
    }

    pub(crate) fn replace(&mut self, at: usize, bytes: Vec<u8>) -> Result<(), String> {
        let object = &self.model.objects[at];
        let due = self.model.size(bytes.len()).and(object.alone());
        let got = self.pools[object.pool].replace(object.key.to_bits(), &bytes);
        if self.agree("replace", got, due)?.is_some() {
            self.model.objects[at].bytes = bytes;
            self.report.replaced += 1;
        }
        self.read_back(at)
    }

    pub(crate) fn write(
        &mut self,
        at: usize,
        offset: Portion,
        len: Portion,
        seed: u8,
    ) -> Result<(), String> {
        let object = &self.model.objects[at];
        let max = object.bytes.len();
        let offset = offset.of(max);
        let len = len.of(max.saturating_sub(offset));
        let bytes = pattern(u64::from(seed), len.min(self.model.page.bytes() + 1));
        let size = offset.saturating_add(bytes.len());
        let too_large = Error::TooLarge { size, max };
        let due = object
            .alone()
            .and(if size > max { Err(too_large) } else { Ok(()) });
        let got = self.pools[object.pool].write(object.key.to_bits(), offset, &bytes);
        if self.agree("write", got, due)?.is_some() {
            self.model.objects[at].bytes[offset..size].copy_from_slice(&bytes);
        }
        self.read_back(at)
    }

    /// By the own name or by the kernel's.
    pub(crate) fn free(&mut self, at: usize) -> Result<(), String> {
        let object = &self.model.objects[at];
        let (number, bits) = (object.pool, object.key.to_bits());
        let due = if object.mapped {
            Err(Error::Busy)
        } else {
            Ok(())
        };
        let deferred = object.readers > 0;
        let got = if bits.is_multiple_of(2) {
            self.pools[number].free(bits)
        } else {
            match self.pools[number].kernel_free(bits) {
                None => Ok(()),
                Some(libc::EBUSY) => Err(zs_result::ZS_BUSY),
                errno => return Err(format!("zs_free leaves errno {errno:?}")),
            }
        };
        if self.agree("free", got, due)?.is_none() {
            return Ok(());
        }
        self.report.freed += 1;
        self.report.deferred += u64::from(deferred);
        self.model.free(at);
        self.refused(number, bits)
    }

    /// Every operation answers stale, unless the number names a live object.
    pub(crate) fn refused(&mut self, number: usize, bits: u64) -> Result<(), String> {
        let live = key(bits).is_ok_and(|key| self.model.find(number, key).is_some());
        if live {
            return Ok(());
        }
        self.report.stale += 1;
        all_answer(self.pools[number], bits, zs_result::ZS_STALE, libc::EINVAL)
    }

    /// What the model says that can be read now reads so.
    pub(crate) fn read_back(&self, at: usize) -> Result<(), String> {
        let object = &self.model.objects[at];
        if object.entry().is_err() {
            return Ok(());
        }
        let view = self.pools[object.pool].view(object.key.to_bits());
        let view = view.map_err(|error| format!("read back: {error:?}"))?;
        let (bytes, spans) = (view.bytes(), view.spans());
        let page = self.model.page.bytes();
        let fits = spans.first.addr() % page + bytes.len() <= page;
        view.end().map_err(|error| format!("{error:?}"))?;
        if bytes != object.bytes {
            return Err(format!("{} bytes read differently", object.bytes.len()));
        }
        expect("one span where one is enough", spans.second.is_null(), fits)
    }
}

/// Every operation on a handle gives the same answer.
pub(crate) fn all_answer(pool: Pool, bits: u64, due: zs_result, errno: i32) -> Result<(), String> {
    let mut byte = [0];
    let read = pool.read(bits, &mut byte);
    let view = pool.view(bits).map(|view| view.end());
    let own = [
        ("read", Err(read.0)),
        ("view", view.map(drop)),
        ("write", pool.write(bits, 0, &[1])),
        ("write beyond", pool.write(bits, usize::MAX, &[1, 2])),
        ("replace", pool.replace(bits, &[1])),
        ("free", if bits == 0 { Err(due) } else { pool.free(bits) }),
    ];
    for (what, got) in own {
        if got != Err(due) {
            return Err(differs(what, got, due));
        }
    }
    let modes = [
        zs_mapmode::ZS_MM_RW,
        zs_mapmode::ZS_MM_RO,
        zs_mapmode::ZS_MM_WO,
    ];
    for mode in modes {
        let got = pool
            .map(bits, mode as u32, 1)
            .map(|mapped| mapped.bytes().len());
        expect("map", got, Err(Some(errno)))?;
    }
    expect("kernel read", pool.kernel_read(bits, 1), Err(Some(errno)))?;
    let free = if bits == 0 { None } else { Some(errno) };
    expect("kernel free", pool.kernel_free(bits), free)
}
