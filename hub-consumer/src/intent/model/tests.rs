//! That the protocol holds, and that each step of it is needed.

use super::*;

#[test]
fn no_interleaving_loses_or_doubles_a_row() {
    let explorer = Explorer::explore(Mutation::None);
    assert!(explorer.broken.is_none(), "{:#?}", explorer.broken);
    let over = explorer.seen.keys().filter(|world| world.is_over()).count();
    assert!(over > 100 && explorer.seen.len() > 10_000, "{} worlds, {over} ends", explorer.seen.len());
}

#[test]
fn every_step_that_is_left_out_is_found() {
    for mutation in [
        Mutation::SkipReadBack,
        Mutation::SkipFingerprint,
        Mutation::ShareTokens,
        Mutation::SkipQuiet,
        Mutation::CommitBeforeInsert,
        Mutation::AnnounceDoubtful,
        Mutation::SkipRepair,
        Mutation::SkipLease,
        Mutation::ForgetDoubt,
        Mutation::TrustOldTokens,
        Mutation::NoTokens,
        Mutation::ShareRepairs,
    ] {
        let explorer = Explorer::explore(mutation);
        assert!(explorer.broken.is_some(), "{mutation:?} is not found in {} worlds", explorer.seen.len());
    }
}

#[test]
fn an_intent_of_other_records_is_another() {
    let ours = Intent { first: 1, last: 5, records: 5, fingerprint: 7, encoder: 1, announced_at: 9 };
    assert!(ours.is_of_same_records(&Intent { encoder: 2, announced_at: 3, ..ours }));
    assert!(!ours.is_of_same_records(&Intent { fingerprint: 8, ..ours }));
    assert!(!ours.is_of_same_records(&Intent { last: 6, ..ours }));
}
