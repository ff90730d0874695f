//! The way to the other members.

use trireme_transport::{Offload, TransportConfig};

use crate::tune::finding::{Finding, Level};
use crate::tune::host::Host;

/// Lost datagrams by full buffers, as a share of all that came, from which on it pays to act.
const LOST: f64 = 1e-5;

/// Interfaces and counters.
pub(super) fn check(host: &Host) -> Vec<Finding> {
    let mut findings: Vec<Finding> = interfaces(host);
    findings.extend(overflows(host));
    findings
}

/// The length of packets of each interface that is up.
fn interfaces(host: &Host) -> Vec<Finding> {
    let reason = "a byte in frames of 9,000 bytes costs half of one in frames of 1,500: fewer packets";
    let one = |name: &String| {
        let mtu = host.number(&format!("/sys/class/net/{name}/mtu"))?;
        let up = host.read(&format!("/sys/class/net/{name}/operstate"))? == "up";
        let physical = host.path(&format!("/sys/class/net/{name}/device")).exists();
        let most = TransportConfig::default().mtu_upper_bound;
        let found = format!("{name}: frames of {mtu} bytes");
        let good = mtu >= u64::from(most) + 48;
        let remedy = "if every switch between the members carries them: profile jumbo";
        (up && physical).then(|| Finding::judged("net.mtu", good, Level::Note, found, reason, remedy))
    };
    host.names("/sys/class/net").iter().filter_map(one).collect()
}

/// Datagrams that found a full socket, since the start of the host.
fn overflows(host: &Host) -> Option<Finding> {
    let text = host.read("/proc/net/snmp")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let value = |name: &str| {
        let at = names.split_whitespace().position(|other| other == name)?;
        values.split_whitespace().nth(at)?.parse::<u64>().ok()
    };
    let (came, lost) = (value("InDatagrams")?, value("RcvbufErrors")?);
    let share = lost as f64 / (came + lost).max(1) as f64;
    let reason = "a datagram that finds its socket's buffer full is lost, and sent again after a round trip";
    let found = format!(
        "{lost} of {} datagrams lost by full buffers since the host started",
        came + lost
    );
    let remedy = "raise net.core.rmem_max (trireme tune apply), and give the replica a core that nothing else uses";
    Some(Finding::judged(
        "net.overflow",
        share < LOST,
        Level::Advice,
        found,
        reason,
        remedy,
    ))
}

/// What one system call carries here, tried on a socket.
pub(super) fn try_offload() -> Option<Finding> {
    let reason =
        "with GSO and GRO one system call carries many datagrams: without them 2.3 instead of 10 Gbit/s a core";
    Some(match Offload::probe() {
        Ok(Offload { send, receive }) => {
            let found = format!("GSO {send} and GRO {receive} datagrams a call");
            let remedy = "a kernel of 5.0 or later; ethtool -K INTERFACE tx-udp-segmentation on";
            Finding::judged(
                "net.offload",
                send > 1 && receive > 1,
                Level::Advice,
                found,
                reason,
                remedy,
            )
        }
        Err(error) => Finding::new(
            "net.offload",
            Level::Bad,
            format!("no UDP socket: {error}"),
            "replicas speak QUIC over UDP",
        )
        .remedy("allow UDP sockets for this user"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::from;
    use super::*;
    use crate::tune::host::tests::fake;

    #[test]
    fn loopback_and_quiet_interfaces_do_not_count() {
        let (host, _dir) = fake(&[
            ("/sys/class/net/lo/mtu", "65536"),
            ("/sys/class/net/lo/operstate", "unknown"),
            ("/sys/class/net/eth0/mtu", "1500"),
            ("/sys/class/net/eth0/operstate", "up"),
            ("/sys/class/net/eth0/device/vendor", "x"),
            ("/sys/class/net/eth1/mtu", "9000"),
            ("/sys/class/net/eth1/operstate", "up"),
            ("/sys/class/net/eth1/device/vendor", "x"),
            ("/sys/class/net/docker0/mtu", "1500"),
            ("/sys/class/net/docker0/operstate", "up"),
        ]);
        let found: Vec<(String, Level)> = interfaces(&host).into_iter().map(|f| (f.found, f.level)).collect();
        assert_eq!(
            found,
            [
                ("eth0: frames of 1500 bytes".to_owned(), Level::Note),
                ("eth1: frames of 9000 bytes".to_owned(), Level::Good)
            ]
        );
    }

    #[test]
    fn lost_datagrams_are_counted() {
        let table = |lost: u64| format!("Udp: InDatagrams NoPorts RcvbufErrors\nUdp: 1000000 0 {lost}\n");
        for (lost, level) in [(0, Level::Good), (100, Level::Advice)] {
            let (host, _dir) = fake(&[("/proc/net/snmp", &table(lost))]);
            assert_eq!(from(&check(&host), Level::Good), ["net.overflow"]);
            assert_eq!(overflows(&host).unwrap().level, level);
        }
    }

    #[test]
    fn a_socket_can_be_tried() {
        let found = try_offload().unwrap();
        assert!(found.found.contains("GSO"), "{}", found.found);
    }
}
