//! Super-frames: cut into the frames they stand for, and joined from those that arrived.

pub mod cut;
pub mod join;
