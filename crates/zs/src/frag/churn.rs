//! A pool that is filled, and whose objects are freed and stored again at random.

use super::reading::Looks;
use crate::failure::{Failure, failed};
use crate::pool::Pool;
use crate::units::Share;
use zcomp::{Algorithm, Compressed, Stream};
use zs_pages::{DataPages, same_filled};
use zsmalloc::Handle;

/// The objects of a pool: a page each, compressed. Same-filled pages are left out.
pub(super) struct Churn<'a> {
    pages: DataPages<'a>,
    /// The pages that are stored if the pool takes them, shuffled.
    order: Vec<u32>,
    /// Their objects, by their place in `order`: the handle, and the object's length.
    objects: Vec<Option<(Handle, u32)>>,
    stream: Stream,
    packed: Vec<u8>,
    random: fastrand::Rng,
    pub(super) limit_reached: bool,
}

impl<'a> Churn<'a> {
    /// Allocates all that it needs, and writes to it, so that it takes no memory any more
    /// when it is at work.
    pub(super) fn new(pages: DataPages<'a>, seed: u64) -> Result<Self, Failure> {
        let page = pages.page_size().bytes();
        let stored = pages
            .iter()
            .zip(0..)
            .filter(|(page, _)| same_filled(page).is_none());
        let mut order: Vec<u32> = stored.map(|(_, number)| number).collect();
        let mut random = fastrand::Rng::with_seed(seed);
        random.shuffle(&mut order);
        pages.forget(0..pages.len());
        let stream = Stream::new(Algorithm::Lz4, page).map_err(failed)?;
        let mut objects = vec![Handle::from_bits(u64::MAX).map(|handle| (handle, 0)); order.len()];
        objects.fill(None);
        Ok(Self {
            pages,
            objects,
            order,
            stream,
            packed: vec![0xff; Algorithm::Lz4.max_compressed_len(page)],
            random,
            limit_reached: false,
        })
    }

    /// Returns how many objects there are at most.
    pub(super) fn most(&self) -> usize {
        self.order.len()
    }

    /// Returns the live objects: handles and lengths.
    pub(super) fn live(&self) -> impl Iterator<Item = (Handle, u32)> + '_ {
        self.objects.iter().copied().flatten()
    }

    /// Stores every page that is not stored.
    pub(super) fn fill(&mut self, pool: &Pool, looks: &mut Looks<'_>) -> Result<(), Failure> {
        for at in 0..self.order.len() {
            if self.objects[at].is_some() {
                continue;
            }
            let number = self.order[at] as usize;
            let Some(page) = self.pages.get(number) else {
                continue;
            };
            let bytes = match self
                .stream
                .compress(page, &mut self.packed)
                .map_err(failed)?
            {
                Compressed::Fits(len) if len < page.len() => &self.packed[..len],
                _ => page,
            };
            let stored = pool.insert(bytes);
            self.pages.forget(number..number + 1);
            match stored {
                Ok(handle) => self.objects[at] = Some((handle, bytes.len() as u32)),
                Err(zsmalloc::Error::NoMemory) => {
                    self.limit_reached = true;
                    return Ok(());
                }
                Err(error) => return Err(failed(error)),
            }
            looks.step(pool)?;
        }
        Ok(())
    }

    /// Frees a random share of the objects.
    pub(super) fn free(
        &mut self,
        pool: &Pool,
        share: Share,
        looks: &mut Looks<'_>,
    ) -> Result<(), Failure> {
        let live = self.live().count();
        let mut left = share.of(live);
        let mut unseen = live;
        for object in &mut self.objects {
            let Some((handle, _)) = *object else { continue };
            // Each of those that are left is as likely as the others.
            if self.random.usize(0..unseen) < left {
                pool.free(handle).map_err(failed)?;
                *object = None;
                left -= 1;
                looks.step(pool)?;
            }
            unseen -= 1;
        }
        Ok(())
    }

    /// Loads every live object, and compares it with its page.
    pub(super) fn check(&mut self, pool: &Pool) -> Result<(), Failure> {
        let page_len = self.pages.page_size().bytes();
        let mut unpacked = vec![0; page_len];
        for (object, &number) in self.objects.iter().zip(&self.order) {
            let Some((handle, _)) = *object else { continue };
            let guard = pool.read(handle).map_err(failed)?;
            if guard.len() == page_len {
                guard.copy_to(&mut unpacked).map_err(failed)?;
            } else {
                let bytes = guard.contiguous(&mut self.packed).map_err(failed)?;
                self.stream
                    .decompress(bytes, &mut unpacked)
                    .map_err(failed)?;
            }
            if self.pages.get(number as usize) != Some(&unpacked[..]) {
                let text =
                    format!("page {number} came back with other bytes than it was stored with");
                return Err(Failure::Failed(text));
            }
        }
        Ok(())
    }
}
