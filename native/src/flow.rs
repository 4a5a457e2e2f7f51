//! A flow through a service: who has part in it, what its packets say, and what becomes of them.

use crate::packet::{self, Mac, Packet};
use crate::rewrite::{Address, Edit};

/// Who has part in a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // says it
pub struct Party {
    pub mac: Mac,
    pub ip: Address,
    pub port: u16,
}

impl Party {
    const WORDS: usize = 3;

    fn pack(&self) -> [u64; Self::WORDS] {
        let [high, low] = halves(self.ip);
        let [a, b, c, d, e, f] = self.mac;
        let [g, h] = self.port.to_be_bytes();
        [high, low, u64::from_be_bytes([a, b, c, d, e, f, g, h])]
    }

    fn unpack([high, low, rest]: [u64; Self::WORDS]) -> Self {
        let [a, b, c, d, e, f, g, h] = rest.to_be_bytes();
        let ip = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
        Self { mac: [a, b, c, d, e, f], ip, port: u16::from_be_bytes([g, h]) }
    }
}

fn halves(ip: Address) -> [u64; 2] {
    let number = u128::from_be_bytes(ip);
    [(number >> 64) as u64, number as u64]
}

/// The two ways of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From its client, to the service.
    There,
    /// From its member.
    Back,
}

/// A flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// The network.
    pub vni: u32,
    /// TCP or UDP.
    pub protocol: u8,
    /// Over IPv6, else IPv4.
    pub is_v6: bool,
    /// The member is its own client, which it sees under the service's address.
    pub is_own: bool,
    /// Who asks.
    pub client: Party,
    /// Whom.
    pub service: Party,
    /// Who answers.
    pub member: Party,
}

impl Flow {
    /// How many words hold one.
    pub const WORDS: usize = 3 * Party::WORDS + 1;

    /// In words.
    pub fn pack(&self) -> [u64; Self::WORDS] {
        let [c0, c1, c2] = self.client.pack();
        let [s0, s1, s2] = self.service.pack();
        let [m0, m1, m2] = self.member.pack();
        let flags = u64::from(self.is_v6) | u64::from(self.is_own) << 1;
        let kind = u64::from(self.vni) << 32 | u64::from(self.protocol) << 8 | flags;
        [c0, c1, c2, s0, s1, s2, m0, m1, m2, kind]
    }

    /// Out of words.
    pub fn unpack([c0, c1, c2, s0, s1, s2, m0, m1, m2, kind]: [u64; Self::WORDS]) -> Self {
        Self {
            vni: (kind >> 32) as u32,
            protocol: (kind >> 8) as u8,
            is_v6: kind & 1 != 0,
            is_own: kind & 2 != 0,
            client: Party::unpack([c0, c1, c2]),
            service: Party::unpack([s0, s1, s2]),
            member: Party::unpack([m0, m1, m2]),
        }
    }

    /// Whom the member sees as its client.
    pub fn seen_as(&self) -> (Mac, Address) {
        let party = if self.is_own { &self.service } else { &self.client };
        (party.mac, party.ip)
    }

    /// What its packets say on one way.
    pub fn key(&self, way: Way) -> Key {
        let (source, destination) = match way {
            Way::There => {
                ((self.client.ip, self.client.port), (self.service.ip, self.service.port))
            }
            Way::Back => ((self.member.ip, self.member.port), (self.seen_as().1, self.client.port)),
        };
        Key::new(self.vni, self.protocol, self.is_v6, source, destination)
    }

    /// What becomes of them.
    pub fn edit(&self, way: Way) -> Edit {
        match way {
            Way::There => {
                let (source_mac, source) = self.seen_as();
                Edit {
                    destination_mac: self.member.mac,
                    source_mac,
                    source,
                    destination: self.member.ip,
                    source_port: self.client.port,
                    destination_port: self.member.port,
                }
            }
            Way::Back => Edit {
                destination_mac: self.client.mac,
                source_mac: self.service.mac,
                source: self.service.ip,
                destination: self.client.ip,
                source_port: self.service.port,
                destination_port: self.client.port,
            },
        }
    }
}

/// What all packets of one way say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key([u64; 5]);

impl Key {
    fn new(
        vni: u32,
        protocol: u8,
        is_v6: bool,
        (source, source_port): (Address, u16),
        (destination, destination_port): (Address, u16),
    ) -> Self {
        let ([a, b], [c, d]) = (halves(source), halves(destination));
        let version = if is_v6 { 0x80 } else { 0 }; // no number of a protocol with ports is as high
        let ports = u64::from(source_port) << 24 | u64::from(destination_port) << 8;
        Self([a, b, c, d, u64::from(vni) << 40 | ports | u64::from(protocol | version)])
    }

    /// All it says, as words.
    pub fn words(&self) -> &[u64] {
        &self.0
    }

    /// What an answer to a whole packet that has ports says.
    pub fn of_answer(vni: u32, frame: &[u8], packet: &Packet) -> Self {
        let Self([a, b, c, d, kind]) = Self::of(vni, frame, packet);
        let (source_port, destination_port) = (kind >> 24 & 0xffff, kind >> 8 & 0xffff);
        let rest = kind & !(0xffff_ffff << 8);
        Self([c, d, a, b, rest | destination_port << 24 | source_port << 8])
    }

    /// Of a whole packet that has ports.
    pub fn of(vni: u32, frame: &[u8], packet: &Packet) -> Self {
        let addresses = packet.addresses(frame);
        let (left, right) = addresses.split_at(addresses.len() / 2);
        let (mut source, mut destination) = (Address::default(), Address::default());
        source[..left.len()].copy_from_slice(left);
        destination[..right.len()].copy_from_slice(right);
        let port = |at| packet::be16(frame, packet.transport + at).unwrap_or_default();
        Self::new(vni, packet.protocol, packet.is_v6, (source, port(0)), (destination, port(2)))
    }
}
