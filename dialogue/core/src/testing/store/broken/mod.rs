//! Stores that are broken on purpose: the suite has to find each fault.

mod store;

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use store::Broken;

use super::{Sentence, try_store_at};

/// The fault of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    ForgetsMeta,
    CutsLargeData,
    AppendsOneRoomOfACall,
    KeepsTheFirstEventOfACall,
    FailsOnNothing,
    TakesHeldNumbers,
    RefusesHeldNumbersByAnotherError,
    TakesHoles,
    TakesAnotherEpoch,
    ForgetsWhichConflicted,
    AConflictStopsAll,
    AllowsNoAppend,
    LosesConcurrentAppends,
    RewritesWhenItLikes,
    FoldsCaseOfRooms,
    MixesManyRooms,
    FoldsCaseOfRecords,
    InventsAHead,
    TellsAWrongFirst,
    KnowsOneOrder,
    ReadsAfterInclusively,
    ReadsBeforeInclusively,
    ReadsUntilInclusively,
    ReadsSinceExclusively,
    IgnoresNames,
    IgnoresTheLimit,
    IgnoresBytes,
    CountsInI64,
    EndsPagesWithoutNext,
    NeverEndsPages,
    RepeatsAcrossPages,
    PagesByPlace,
    TellsKeysNewestFirst,
    IgnoresSince,
    TrimsKeysWithEvents,
    NeverTrimsKeys,
    TellsOldestKeys,
    RefusesAKeyAgain,
    TrimsOneTooMany,
    TrimsTheNewest,
    TrimsAnotherLog,
    GrowsBackWhenTrimmedAgain,
    NumbersFromOneAfterTrimming,
    KeepsKeysOfRemoved,
    RemembersRemovedNumbers,
    RemovesByPrefix,
    PutsOneRecordOfACall,
    NeverRemovesRecords,
    TakesEmptyForNothing,
    ScansByLetters,
    ScansByPattern,
    ScansAfterInclusively,
    TrimsRarely,
    LosesTheLastCall,
    ForgetsRemovals,
    ForgetsWhereLogsEnd,
    ForgetsRecords,
}
use Fault::*;

/// Each fault, and a clause of the contract that it breaks.
const BROKEN: [(Fault, &str); 57] = [
    (ForgetsMeta, "every_field_of_an_event_comes_back"),
    (CutsLargeData, "events_are_large_or_empty"),
    (AppendsOneRoomOfACall, "one_call_appends_to_several_rooms"),
    (KeepsTheFirstEventOfACall, "numbers_go_on_from_call_to_call"),
    (FailsOnNothing, "an_append_to_nothing_is_no_error"),
    (TakesHeldNumbers, "numbers_that_are_held_are_a_conflict"),
    (RefusesHeldNumbersByAnotherError, "numbers_that_are_held_are_a_conflict"),
    (TakesHoles, "a_hole_in_the_numbers_is_a_conflict"),
    (TakesAnotherEpoch, "another_epoch_is_a_conflict"),
    (ForgetsWhichConflicted, "a_conflict_names_its_rooms_and_leaves_the_others_kept"),
    (AConflictStopsAll, "a_conflict_names_its_rooms_and_leaves_the_others_kept"),
    (AllowsNoAppend, "appends_to_different_rooms_are_under_way_at_once"),
    (LosesConcurrentAppends, "appends_to_different_rooms_are_under_way_at_once"),
    (RewritesWhenItLikes, "a_dropped_append_is_done_or_not"),
    (FoldsCaseOfRooms, "room_ids_are_told_apart_to_the_byte"),
    (MixesManyRooms, "many_rooms_are_told_apart"),
    (FoldsCaseOfRecords, "keys_of_records_are_told_apart_to_the_byte"),
    (InventsAHead, "a_room_without_events_has_no_head"),
    (TellsAWrongFirst, "the_head_is_where_a_log_begins_and_ends"),
    (KnowsOneOrder, "a_log_is_read_in_both_orders"),
    (ReadsAfterInclusively, "after_and_before_are_outside_of_a_page"),
    (ReadsBeforeInclusively, "after_and_before_are_outside_of_a_page"),
    (ReadsUntilInclusively, "since_is_inside_of_a_page_and_until_outside"),
    (ReadsSinceExclusively, "since_is_inside_of_a_page_and_until_outside"),
    (IgnoresNames, "only_events_of_these_names_are_read"),
    (IgnoresTheLimit, "the_limit_is_kept"),
    (IgnoresBytes, "a_page_ends_with_the_event_that_goes_past_its_bytes"),
    (CountsInI64, "bounds_may_be_beyond_everything"),
    (EndsPagesWithoutNext, "pages_make_the_log"),
    (NeverEndsPages, "pages_make_the_log"),
    (RepeatsAcrossPages, "pages_make_the_log"),
    (PagesByPlace, "pages_make_the_log_while_it_grows_and_is_trimmed"),
    (TellsKeysNewestFirst, "keys_come_back_oldest_first"),
    (IgnoresSince, "keys_are_asked_for_since_a_time"),
    (TrimsKeysWithEvents, "keys_survive_the_trimming_of_their_events"),
    (NeverTrimsKeys, "trimming_drops_keys_from_before_a_time"),
    (TellsOldestKeys, "of_very_many_keys_the_newest_are_told"),
    (RefusesAKeyAgain, "a_key_may_come_again"),
    (TrimsOneTooMany, "trimming_drops_what_is_before"),
    (TrimsTheNewest, "the_newest_event_is_never_trimmed"),
    (TrimsAnotherLog, "a_log_of_another_epoch_is_not_trimmed"),
    (GrowsBackWhenTrimmedAgain, "trimming_again_changes_nothing"),
    (NumbersFromOneAfterTrimming, "a_trimmed_log_goes_on"),
    (KeepsKeysOfRemoved, "a_removed_log_is_gone_with_its_keys"),
    (RemembersRemovedNumbers, "a_removed_log_begins_again"),
    (RemovesByPrefix, "removing_one_room_leaves_all_others"),
    (PutsOneRecordOfACall, "a_record_is_put_and_got"),
    (NeverRemovesRecords, "a_record_is_replaced_and_removed"),
    (TakesEmptyForNothing, "a_record_holds_any_bytes"),
    (ScansByLetters, "records_are_scanned_in_the_order_of_bytes"),
    (ScansByPattern, "a_scan_keeps_to_its_prefix"),
    (ScansAfterInclusively, "a_scan_goes_on_after_a_key"),
    (TrimsRarely, "it_answers_as_memory_does"),
    (LosesTheLastCall, "what_was_acknowledged_is_there_when_opened_again"),
    (ForgetsRemovals, "what_was_removed_stays_removed_when_opened_again"),
    (ForgetsWhereLogsEnd, "a_log_goes_on_when_opened_again"),
    (ForgetsRecords, "it_answers_as_memory_does_when_opened_again"),
];

#[test]
fn each_fault_breaks_the_sentence_that_it_is_against() {
    for (fault, name) in BROKEN {
        assert!(!holds(Some(fault), sentence(name)), "the kit doesn't see that a store {fault:?}, by {name}");
    }
}

#[test]
fn each_sentence_is_broken_by_some_fault() {
    let broken: BTreeSet<_> = BROKEN.iter().map(|(_, name)| *name).collect();
    let all: BTreeSet<_> = sentences().into_iter().map(|(name, _)| name).collect();
    assert_eq!(all.difference(&broken).collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[test]
fn no_sentence_is_broken_without_a_fault() {
    for (name, sentence) in sentences() {
        assert!(holds(None, sentence), "{name}");
    }
}

fn sentences() -> Vec<(&'static str, Sentence)> {
    let (any, lasting) = (crate::store_suite!(@sentences @table), crate::store_suite!(@lasting @table));
    any.into_iter().chain(lasting).collect()
}

fn sentence(name: &str) -> Sentence {
    let found = sentences().into_iter().find(|(other, _)| *other == name);
    found.unwrap_or_else(|| panic!("no sentence is named {name}")).1
}

/// Returns whether a store with the fault passes.
fn holds(fault: Option<Fault>, sentence: Sentence) -> bool {
    let open = async |place: &Broken| {
        place.open().await;
        place.clone()
    };
    catch_unwind(AssertUnwindSafe(|| try_store_at(|| Broken::new(fault), open, sentence))).is_ok()
}
