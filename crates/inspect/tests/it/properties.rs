//! What holds of every file, tried on changed valid ones and on noise.

use proptest::prelude::*;
use proptest::sample::Index;

use inspect::{Kind, Rules, Verdict, check_name};

use crate::{build, harness};

/// A change at some place: so many bytes taken away, these put there.
type Change = (Index, usize, Vec<u8>);

fn changed(mut bytes: Vec<u8>, changes: Vec<Change>) -> Vec<u8> {
    for (place, taken, put) in changes {
        let at = place.index(bytes.len() + 1);
        let end = (at + taken).min(bytes.len());
        bytes.splice(at..end, put);
    }
    bytes
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&[u8]> = vec![
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        b"\x7f\xff\xff\xff",
        b"PK\x05\x06",
        b"stream\n",
        b"<!DOCTYPE ",
        b"\xff\xd9",
    ];
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        proptest::sample::select(words).prop_map(<[u8]>::to_vec),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_files_are_judged_within_bounds_and_always_alike(
        which in any::<Index>(),
        changes in proptest::collection::vec((any::<Index>(), 0usize..40, bytes()), 1..6),
    ) {
        let mut files = build::valid();
        let (_, _, valid) = files.swap_remove(which.index(files.len()));
        let bytes = changed(valid, changes);
        let verdict = harness::judge(&bytes);
        prop_assert_eq!(verdict, harness::judge(&bytes));
        // What stricter rules let pass, laxer ones do too.
        if let Verdict::Pass { kind } = harness::judge_by(&bytes, &Rules::default()) {
            prop_assert!(matches!(verdict, Verdict::Pass { .. } | Verdict::NeedsPerson { .. }), "{kind}: {verdict:?}");
        }
    }

    #[test]
    fn noise_of_no_kind_does_not_pass_as_a_picture_or_document(bytes in proptest::collection::vec(any::<u8>(), 1..4000)) {
        let verdict = harness::judge(&bytes);
        let passes = matches!(verdict, Verdict::Pass { kind } if !matches!(kind, Kind::Text | Kind::Csv));
        prop_assert!(!passes, "{verdict:?}");
    }

    #[test]
    fn names_are_carried_unchanged_or_not_at_all(name in any::<String>()) {
        harness::name(name.as_bytes());
        if let Ok(checked) = check_name(&name) {
            prop_assert_eq!(checked.as_str(), name);
        }
    }
}
