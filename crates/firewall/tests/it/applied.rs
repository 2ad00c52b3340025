//! Apply, confirm, roll back: also when whoever applies is killed, and when the kernel refuses.
use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::{
    golden::EXAMPLE,
    lab::{Lab, PROGRAM},
};

/// What ran before somebody applies: not nothing, so that giving it back can be told from taking it away.
const BEFORE: &str = "table inet gridesk {\n set s { type ipv4_addr; size 8; flags dynamic,timeout; timeout 9s; }\n \
     chain input { type filter hook input priority filter; policy drop; iif lo accept; \
     tcp dport 22 update @s { ip saddr limit rate over 5/second } drop; }\n}\n";

fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

struct Desk<'a> {
    lab: &'a Lab,
    host: &'static str,
    topology: String,
    state: String,
}

impl<'a> Desk<'a> {
    /// Each host with a state folder of its own, as hosts have.
    fn new(lab: &'a Lab, host: &'static str) -> Self {
        let state = lab.state().join(host);
        Self { lab, host, topology: lab.topology().display().to_string(), state: state.display().to_string() }
    }

    fn words(&self, within_s: &str) -> Vec<String> {
        let words = ["apply", "--topology", &self.topology, "--host", self.host, "--state", &self.state];
        words.iter().chain(&["--confirm-within", within_s]).map(|word| (*word).to_owned()).collect()
    }

    fn apply(&self, within_s: &str) -> Output {
        self.lab.command(self.host, PROGRAM).args(self.words(within_s)).output().unwrap()
    }

    fn decide(&self, what: &str) -> Output {
        self.lab.firewall(self.host, &[what, "--state", &self.state])
    }

    fn check(&self) -> Output {
        self.lab.firewall(self.host, &["check", "--topology", &self.topology, "--host", self.host])
    }

    fn pending(&self) -> bool {
        Path::new(&self.state).join("pending.json").exists()
    }

    /// Waits until nothing waits any more; fails long after it should have been.
    fn decided(&self) {
        let end = Instant::now() + Duration::from_secs(25);
        while self.pending() {
            assert!(Instant::now() < end, "{}: nobody rolled back", self.host);
            sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn netns_what_is_confirmed_stays_and_can_still_be_rolled_back() {
    let lab = Lab::new();
    let desk = Desk::new(&lab, "edge");
    lab.nft("edge", BEFORE);
    let before = lab.listing("edge");
    let nothing = desk.decide("confirm");
    assert!(!nothing.status.success() && said(&nothing).contains("nothing to confirm"), "{}", said(&nothing));

    let applied = desk.apply("3");
    assert!(applied.status.success() && said(&applied).contains("within 3 s"), "{}", said(&applied));
    let second = desk.apply("3");
    assert!(!second.status.success() && said(&second).contains("waits to be confirmed"), "{}", said(&second));
    let confirmed = desk.decide("confirm");
    assert!(confirmed.status.success() && said(&confirmed).contains("confirmed.nft"), "{}", said(&confirmed));
    // Longer than it was to wait.
    sleep(Duration::from_secs(4));
    assert!(desk.check().status.success(), "{}", said(&desk.check()));
    // What a host loads when it starts.
    let kept = fs::read_to_string(Path::new(&desk.state).join("confirmed.nft")).unwrap();
    lab.unload("edge");
    lab.nft("edge", &kept);
    assert!(desk.check().status.success());

    let rolled = desk.decide("rollback");
    assert!(rolled.status.success() && said(&rolled).contains("rules of before"), "{}", said(&rolled));
    assert_eq!(lab.listing("edge"), before);
    let again = desk.decide("rollback");
    assert!(!again.status.success() && said(&again).contains("by hand"), "{}", said(&again));
}

#[test]
fn netns_what_is_not_confirmed_goes_by_itself_whatever_is_killed_meanwhile() {
    let lab = Lab::new();
    let desks = ["edge", "outer", "main", "standby", "admin"].map(|host| Desk::new(&lab, host));
    lab.nft("edge", BEFORE);
    // Nobody is killed; the terminal is closed afterwards; killed while it works, sooner and later.
    let mut killed_before_the_end = 0;
    let ends = [None, Some(400), Some(5), Some(60), Some(150)];
    let before: Vec<String> = desks.iter().map(|desk| lab.listing(desk.host)).collect();
    for (desk, after_ms) in desks.iter().zip(ends) {
        let mut command = lab.command(desk.host, PROGRAM);
        let mut child = command
            .args(desk.words("4"))
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let group = Pid::from_child(&child);
        match after_ms {
            None => {
                assert!(child.wait().unwrap().success());
                assert_ne!(lab.listing(desk.host), before[0]);
                // As a shell does when its terminal goes.
                kill_process_group(group, Signal::HUP).ok();
            }
            Some(ms) => {
                sleep(Duration::from_millis(ms));
                // Whatever is in its group, at once.
                kill_process_group(group, Signal::KILL).ok();
                killed_before_the_end += u32::from(!child.wait().unwrap().success());
            }
        }
    }
    println!("{killed_before_the_end} of 4 killed before they were done");
    for (desk, before) in desks.iter().zip(&before) {
        // One that was killed before there was a way back has changed nothing, and left nothing that waits; one that was
        // killed before the other process had a session of its own leaves an apply whose rules were never loaded.
        let end = Instant::now() + Duration::from_secs(15);
        while desk.pending() && Instant::now() < end {
            sleep(Duration::from_millis(50));
        }
        assert_eq!(lab.listing(desk.host), *before, "{}", desk.host);
    }
    desks[0].decided();
    let late = desks[0].decide("confirm");
    assert!(!late.status.success() && said(&late).contains("not confirmed within 4 s"), "{}", said(&late));
    // After whatever happened, the next one works.
    for desk in &desks {
        let applied = desk.apply("60");
        assert!(applied.status.success(), "{}: {}", desk.host, said(&applied));
        assert!(desk.decide("rollback").status.success());
    }
}

#[test]
fn netns_a_killed_apply_whose_rules_are_loaded_is_rolled_back() {
    let lab = Lab::new();
    let desk = Desk::new(&lab, "edge");
    lab.nft("edge", BEFORE);
    let before = lab.listing("edge");
    // A program in the place of nft that does what it is told and then does not come back: so the one who applies is
    // killed at the worst moment. It notes that first: killed in between, the next one would not come back either.
    let folder = shim(
        &lab,
        "if [ \"$*\" = '-f -' ] && [ ! -e \"$0.once\" ]; then\n: >\"$0.once\"\n/usr/sbin/nft \"$@\"\nexec sleep 600\nfi\n\
         exec /usr/sbin/nft \"$@\"",
    );
    let mut command = lab.command("edge", PROGRAM);
    let mut child = command
        .args(desk.words("3"))
        .env("PATH", format!("{folder}:/usr/bin:/bin"))
        .process_group(0)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while lab.listing("edge") == before {
        assert!(Instant::now() < end);
        sleep(Duration::from_millis(10));
    }
    kill_process_group(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    let confirmed = desk.decide("confirm");
    assert!(said(&confirmed).contains("interrupted"), "{}", said(&confirmed));
    desk.decided();
    assert_eq!(lab.listing("edge"), before);
}

/// A folder with an `nft` that runs `script`.
fn shim(lab: &Lab, script: &str) -> String {
    let folder = lab.topology().with_file_name("shim");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("nft"), format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(folder.join("nft"), fs::Permissions::from_mode(0o755)).unwrap();
    folder.display().to_string()
}

#[test]
fn netns_what_the_kernel_refuses_changes_nothing() {
    let lab = Lab::new();
    let desk = Desk::new(&lab, "edge");
    lab.nft("edge", BEFORE);
    let before = lab.listing("edge");
    // The last rule of many goes to a chain that is not there: seen by the trial, or only by the real thing.
    let broken = "(cat; echo 'add rule inet gridesk nowhere drop') | /usr/sbin/nft \"$@\"";
    let late = format!("case \"$*\" in '-f -') {broken};; *) exec /usr/sbin/nft \"$@\";; esac");
    for (script, tells) in [(broken, "nft -c failed"), (&late, "nft -f failed")] {
        let path = format!("{}:/usr/bin:/bin", shim(&lab, script));
        let refused = lab.command("edge", PROGRAM).args(desk.words("60")).env("PATH", path).output().unwrap();
        assert_eq!(refused.status.code(), Some(1));
        assert!(said(&refused).contains(tells) && said(&refused).contains("nowhere"), "{}", said(&refused));
        assert_eq!(lab.listing("edge"), before);
        assert!(!desk.pending());
    }
    fs::write(lab.topology(), crate::lab::TOPOLOGY.replace("to = \"relay\"", "to = \"store\"")).unwrap();
    let refused = desk.apply("60");
    assert_eq!(refused.status.code(), Some(64));
    assert!(said(&refused).contains("flows[2]") && said(&refused).contains("by IP"), "{}", said(&refused));
    assert_eq!(lab.listing("edge"), before);
}

#[test]
fn netns_every_host_of_the_example_can_be_applied() {
    let lab = Lab::new();
    let topology = firewall::Topology::load(Path::new(EXAMPLE)).unwrap();
    for host in topology.hosts() {
        let of = ["--topology", EXAMPLE, "--host", host];
        let state = lab.state().display().to_string();
        let applied = lab.firewall("admin", &[&["apply", "--state", &state], &of[..]].concat());
        assert!(applied.status.success(), "{host}: {}", said(&applied));
        let checked = lab.firewall("admin", &[&["check"], &of[..]].concat());
        assert!(checked.status.success(), "{host}: {}", said(&checked));
        assert!(lab.firewall("admin", &["rollback", "--state", &state]).status.success());
        assert_eq!(lab.listing("admin"), "");
    }
}
