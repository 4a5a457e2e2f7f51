//! What the switch says of flows, and what it is told of them.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::flow::{Flow, Party};
use crate::flows::{self, Shown, Terms, silence};
use crate::workers::Clock;

const ROW: usize = 86;

const GONE: u8 = 1;
const HELD: u8 = 2;
const IS_V6: u8 = 4;
const IS_OWN: u8 = 8;
const IS_FRESH: u8 = 16;

type SeenRow = (u16, Option<u32>, bool, bool, u64, u64);

/// The flows whose packets are carried without asking the switch.
#[pyclass(frozen)]
pub struct Flows {
    flows: Arc<flows::Flows>,
    clock: Clock,
}

impl Flows {
    /// Those of an engine, with its clock.
    pub fn new(flows: Arc<flows::Flows>, clock: Clock) -> Self {
        Self { flows, clock }
    }
}

#[pymethods]
impl Flows {
    /// Put and remove flows, each in 86 octets: number, VNI, protocol, flags, seconds it may be
    /// silent while it is open and when it is closing; MACs of client, service and member; their ports; their addresses, of 16 octets each.
    fn program(&self, rows: &[u8]) -> PyResult<()> {
        let (rows, rest) = rows.as_chunks::<ROW>();
        if !rest.is_empty() {
            return Err(PyValueError::new_err("a flow has 86 octets"));
        }
        let now = self.clock.now();
        for row in rows {
            let mut fields = Fields(row);
            let number = u32::from_ne_bytes(fields.take());
            let vni = u32::from_ne_bytes(fields.take());
            let [protocol, flags] = fields.take();
            let idle_s = u16::from_ne_bytes(fields.take());
            let closing_s = u16::from_ne_bytes(fields.take());
            if flags & GONE != 0 {
                self.flows.remove(number);
                continue;
            }
            let macs = [fields.take(), fields.take(), fields.take()];
            let ports = [(); 3].map(|()| u16::from_ne_bytes(fields.take()));
            let ips = [fields.take(), fields.take(), fields.take()];
            let party = |at: usize| Party { mac: macs[at], ip: ips[at], port: ports[at] };
            let flow = Flow {
                vni,
                protocol,
                is_v6: flags & IS_V6 != 0,
                is_own: flags & IS_OWN != 0,
                client: party(0),
                service: party(1),
                member: party(2),
            };
            let shown = match flags & (HELD | IS_FRESH) {
                0 => Shown::Few,
                IS_FRESH => Shown::UntilAnswered,
                _ => Shown::All,
            };
            let terms = Terms { shown, idle_s, closing_s };
            if !self.flows.set(number, &flow, terms, now) {
                return Err(PyValueError::new_err(format!("there is no flow {number}")));
            }
        }
        Ok(())
    }

    /// Of each of these flows: for how many seconds it has been silent, what its client last
    /// acknowledged, whether an answer and its end were seen, and how many frames and octets were carried; None for
    /// those that are not here.
    fn seen(&self, numbers: Vec<u32>) -> Vec<Option<SeenRow>> {
        let now = self.clock.now();
        let row = |number| {
            let seen = self.flows.seen(number)?;
            let silence_s = silence(seen.at, now);
            let ways = (seen.is_answered, seen.is_closing);
            Some((silence_s, seen.acknowledged, ways.0, ways.1, seen.frames, seen.octets))
        };
        numbers.into_iter().map(row).collect()
    }

    /// How many there are, and how many octets they take.
    fn size(&self) -> (usize, usize) {
        (self.flows.len(), self.flows.octets())
    }
}

// A row's octets, field by field.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((field, rest)) = self.0.split_first_chunk() else { return [0; N] };
        self.0 = rest;
        *field
    }
}
