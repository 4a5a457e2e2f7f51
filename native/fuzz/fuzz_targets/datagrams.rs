//! What arrives from other hosts: any datagrams are unwrapped and joined without a panic, and what
//! was joined is cut into the same frames again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vxnet_native::checksum;
use vxnet_native::offload::cut::{Cut, complete_checksum};
use vxnet_native::offload::join::Train;
use vxnet_native::packet::{self, Packet, protocol};
use vxnet_native::vnet::{Gso, Header};
use vxnet_native::vxlan::{self, Remote};

const REPAIR: u8 = 0x80;

// The frames a super-frame stands for.
fn cut_again(train: &mut Train, buffer: &mut [u8]) -> Vec<Vec<u8>> {
    let header = train.finish(buffer);
    let mut whole = buffer[train.head()].to_vec();
    for payload in train.rest() {
        whole.extend(&buffer[payload.clone()]);
    }
    let vnet = Header::parse(&header).expect("a header of ours is read");
    if vnet.gso == Gso::None {
        complete_checksum(&mut whole, &vnet).expect("what is left lies in the frame");
        return vec![whole];
    }
    let packet = Packet::locate(&whole).expect("a super-frame is well-formed");
    let cut = Cut::plan(&whole, packet.as_ref(), &vnet).expect("a super-frame can be cut");
    let mut room = vec![0; cut.longest()];
    (0..cut.count())
        .map(|index| {
            let length = cut.write(&whole, index, &mut room, false);
            room[..length].to_vec()
        })
        .collect()
}

// A frame but for what says nothing: where DF is set the identification and the checksum over it,
// and which of the two zeros of ones' complement a checksum is.
fn what_counts(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if frame.len() >= 34 && frame[12..14] == [8, 0] && frame[20] & 0x40 != 0 {
        frame[18..20].fill(0);
        frame[24..26].fill(0);
    }
    if let Ok(Some(Packet { protocol: protocol::TCP, transport, .. })) = Packet::locate(&frame)
        && let Some(checksum) = frame.get_mut(transport + 16..transport + 18)
        && checksum == [0xff, 0xff]
    {
        checksum.fill(0);
    }
    frame
}

// Make the checksums right, which a fuzzer would never find by itself; that of the transport header,
// or what stands in its place where it is left to the receiver.
fn repair(frame: &mut [u8], is_left: bool) {
    let Ok(Some(packet)) = Packet::locate(frame) else { return };
    if !packet.is_v6 {
        vxlan::write_ipv4_checksum(&mut frame[packet.network..packet.transport]);
    }
    let field = match packet.protocol {
        protocol::TCP => packet.transport + 16,
        protocol::UDP => packet.transport + 6,
        _ => return,
    };
    if field + 2 > packet.end {
        return;
    }
    frame[field..field + 2].fill(0);
    let length = packet.end - packet.transport;
    let pseudo = checksum::pseudo(packet.addresses(frame), packet.protocol, length);
    if is_left {
        return frame[field..field + 2].copy_from_slice(&pseudo.to_ne_bytes());
    }
    let sum = checksum::add(pseudo, checksum::sum(&frame[packet.transport..packet.end]));
    frame[field..field + 2].copy_from_slice(&checksum::finish(sum));
}

fuzz_target!(|data: &[u8]| {
    let Some((&[class, stride], octets)) = data.split_first_chunk::<2>() else { return };
    let stride = usize::from(stride).max(1) * 2;
    let mut buffer = octets.to_vec();
    let mut train = Train::default();
    let mut left = None;
    let mut sent: Vec<Vec<u8>> = Vec::new();
    let compare = |train: &mut Train, buffer: &mut [u8], sent: &mut Vec<Vec<u8>>| {
        if !sent.is_empty() {
            let got: Vec<_> = cut_again(train, buffer).iter().map(|f| what_counts(f)).collect();
            let sent: Vec<_> = sent.drain(..).map(|f| what_counts(&f)).collect();
            assert_eq!(got, sent);
        }
    };
    for start in (0..buffer.len()).step_by(stride) {
        let datagram = start..(start + stride).min(buffer.len());
        let Ok(header) = vxlan::parse(&buffer[datagram.clone()]) else { continue };
        let frame = datagram.start + vxlan::BYTES..datagram.end;
        if let Some(remote) = header.remote {
            let _ = complete_checksum(&mut buffer[frame.clone()].to_vec(), &remote.vnet());
        }
        let of_its_own = Packet::locate(&buffer[frame.clone()])
            .unwrap_or(None)
            .filter(|packet| packet.end == frame.len() && packet.transport + 18 <= packet.end)
            .and_then(|packet| Remote::of(&packet));
        let remote = header.remote.filter(|remote| Some(*remote) == of_its_own);
        if class & REPAIR != 0 || remote.is_some() {
            repair(&mut buffer[frame.clone()], remote.is_some());
        }
        if vxlan::decapsulate_ecn(&mut buffer[frame.clone()], class).is_err() {
            continue;
        }
        let _ = packet::addresses(&buffer[frame.clone()]);
        let located = Packet::locate(&buffer[frame.clone()]).unwrap_or(None);
        let _ = packet::flow_hash(&buffer[frame.clone()], located.as_ref());
        let _ = vxlan::outer_class(&buffer[frame.clone()]);
        if sent.is_empty() || remote != left || !train.offer(&buffer, frame.clone()) {
            compare(&mut train, &mut buffer, &mut sent);
            train.start(&buffer, frame.clone(), located.as_ref(), true, remote);
            left = remote;
        }
        let mut whole = buffer[frame].to_vec();
        if let Some(remote) = remote {
            complete_checksum(&mut whole, &remote.vnet()).expect("what is left lies in the frame");
        }
        sent.push(whole);
    }
    compare(&mut train, &mut buffer, &mut sent);
});
