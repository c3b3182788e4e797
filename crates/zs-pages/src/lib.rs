//! Where real pages come from
