//! What arrives from TAPs, whose other end may be a virtual machine: any `virtio_net_hdr` with any
//! frame is cut or refused without a panic, and what is cut is well-formed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vxnet_native::offload::cut::{Cut, complete_checksum};
use vxnet_native::packet::Packet;
use vxnet_native::vnet::{self, Header};

fuzz_target!(|data: &[u8]| {
    let Some((header, frame)) = data.split_first_chunk::<{ vnet::BYTES }>() else { return };
    let Ok(vnet) = Header::parse(header) else { return };
    let _ = complete_checksum(&mut frame.to_vec(), &vnet);
    let Ok(packet) = Packet::locate(frame) else { return };
    let Ok(cut) = Cut::plan(frame, packet.as_ref(), &vnet) else { return };
    let mut room = vec![0; cut.longest()];
    let mut octets = 0;
    for index in 0..cut.count() {
        let length = cut.write(frame, index, &mut room, index % 2 == 1);
        octets += length;
        assert!(Packet::locate(&room[..length]).is_ok_and(|packet| packet.is_some()));
    }
    assert_eq!(octets, cut.octets());
});
